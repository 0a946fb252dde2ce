from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.errors import InputError
from brainspade_cli.sampling.plan import BLOCK
from brainspade_cli.sampling.shards import Shard, parse_shard, shard_from_environment


@given(st.integers(1, 500), st.integers(1, 40))
def test_shards_cover_every_pair_once_in_whole_blocks(pairs: int, count: int) -> None:
    parts = [Shard(number, count).indices(pairs) for number in range(count)]
    assert [index for part in parts for index in part] == list(range(pairs))
    assert all(part.start % BLOCK == 0 for part in parts if part)


@pytest.mark.parametrize("text", ["4/4", "5/4", "4", "a/b", "0/0", "-1/4"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--shard"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, "0/1"),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "7"}, "0/8"),
        ({"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "8"}, "7/8"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "4",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "6",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            "2/4",
        ),
        ({"SGE_TASK_ID": "undefined"}, "0/1"),
        ({"SGE_TASK_ID": "3", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "5"}, "2/5"),
        ({"SGE_TASK_ID": "3", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "7", "SGE_TASK_STEPSIZE": "2"}, "1/4"),
        ({"LSB_JOBINDEX": "7", "LSB_JOBINDEX_END": "7", "LSB_JOBINDEX_STEP": "2"}, "3/4"),
        ({"LSB_JOBINDEX": "2", "LSB_JOBINDEX_END": "4"}, "1/4"),
        ({"LSB_JOBINDEX": "0", "LSB_JOBINDEX_END": "0"}, "0/1"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "1/2"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "1",
                "RANK": "0",
                "WORLD_SIZE": "4",
            },
            "4/8",
        ),
    ],
)
def test_job_systems_say_the_shard(environment: dict[str, str], shard: str) -> None:
    assert str(shard_from_environment(environment)) == shard


def test_array_numbers_with_gaps_are_refused() -> None:
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT")
    with pytest.raises(InputError, match=r"2 tasks of this array job are numbered 3 to 5 with gaps.*--shard K/N"):
        shard_from_environment(dict(zip(names, ("3", "3", "5", "2"), strict=True)))


def test_a_written_shard_is_read() -> None:
    assert parse_shard(" 2/8 ") == Shard(2, 8)
