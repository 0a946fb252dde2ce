"""Splitting a run over processes: which pairs are whose, and what the job system says about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from brainspade_cli.errors import InputError
from brainspade_cli.sampling.plan import BLOCK

# How array jobs number their tasks: the variables that hold a task's number, the first number (LSF does not tell it),
# the last, and the step between them.
_ARRAYS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"),
    ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
    ("LSB_JOBINDEX", None, "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),
)


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 0) of `count` equal parts of a run."""

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise InputError(
                f"--shard {self.number}/{self.count} is no part of a run; K in K/N counts from 0, so that 0/4 to 3/4 "
                "are the parts of four."
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def indices(self, pairs: int) -> range:
        """Indices of this shard's pairs: a contiguous range of whole blocks, which together cover all pairs once."""
        blocks = -(-pairs // BLOCK)
        first, last = (blocks * part // self.count for part in (self.number, self.number + 1))
        return range(first * BLOCK, min(last * BLOCK, pairs))


def parse_shard(text: str) -> Shard:
    """Read "K/N" with K from 0 to N - 1; raises InputError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match:
        raise InputError(f"--shard {text} is not of the form K/N, such as 2/8.")
    return Shard(int(match[1]), int(match[2]))


def shard_from_environment(environment: Mapping[str, str]) -> Shard:
    """The shard that an array job (SLURM, Grid Engine, LSF) and `torchrun` inside it give this process; else 0/1.

    Raises InputError for numbers with gaps, as of `--array=3,5`: parts would be left out without a word. Only SLURM
    tells of gaps; in Grid Engine, steps are the only ones, and LSF's arrays are taken to begin at 1.
    """
    task = Shard()
    for number, first, last, stride in _ARRAYS:
        values = [environment.get(name, "") if name else "1" for name in (number, first, last)]
        if all(value.isdigit() for value in values):
            own, low, high = (int(value) for value in values)
            told = environment.get(stride, "")
            step = int(told) if told.isdigit() and int(told) > 0 else 1
            tasks = environment.get("SLURM_ARRAY_TASK_COUNT", "") if number.startswith("SLURM") else ""
            # LSF and Grid Engine set their variables to 0 or "undefined" outside arrays.
            if low <= own <= high:
                task = Shard((own - low) // step, (high - low) // step + 1)
                if tasks.isdigit() and int(tasks) != task.count:
                    raise InputError(
                        f"The {tasks} tasks of this array job are numbered {low} to {high} with gaps, which tells no "
                        "parts of a run; say which part each is with --shard K/N."
                    )
                break
    rank, processes = (environment.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if rank.isdigit() and processes.isdigit() and int(rank) < int(processes):
        return Shard(task.number * int(processes) + int(rank), task.count * int(processes))
    return task
