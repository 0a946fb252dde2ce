from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.sampling.run_preview import ROWS, spread_over_height

HEIGHTS = st.lists(st.tuples(st.floats(-70, 80), st.booleans()), min_size=1, max_size=60)


def row(index: int, height: Any, lesion: bool) -> dict[str, Any]:
    return {"index": index, "position_mm": height, "lesion": lesion}


@given(HEIGHTS)
def test_a_preview_goes_from_low_to_high_and_shows_both_kinds(pairs: list[tuple[float, bool]]) -> None:
    chosen = spread_over_height(row(index, *pair) for index, pair in enumerate(pairs))
    assert chosen == sorted(set(chosen), key=lambda index: (pairs[index][0], index))
    kinds = {lesion for _, lesion in pairs}
    for kind in kinds:
        there = sum(lesion is kind for _, lesion in pairs)
        assert sum(pairs[index][1] is kind for index in chosen) == min(there, ROWS // len(kinds))


@given(HEIGHTS, st.randoms(use_true_random=False))
def test_the_order_of_a_manifest_does_not_matter(pairs: list[tuple[float, bool]], rng: random.Random) -> None:
    """Shards finish in any order, and each of them draws the same preview."""
    rows = [row(index, *pair) for index, pair in enumerate(pairs)]
    shuffled = rng.sample(rows, len(rows))
    assert spread_over_height(shuffled) == spread_over_height(rows)


def test_the_lowest_and_highest_slices_are_left_out_where_there_are_many() -> None:
    assert spread_over_height(row(index, index / 2, lesion=False) for index in range(80)) == list(range(5, 80, 10))


def test_slices_with_a_lesion_lie_between_those_without() -> None:
    pairs = [row(index, index // 2, lesion=index % 2 == 1) for index in range(160)]
    assert [pairs[index]["lesion"] for index in spread_over_height(pairs)] == [False, True] * 4


@pytest.mark.parametrize("height", [None, True, "high", float("nan"), 10**400])
def test_what_is_no_height_leaves_the_order_to_the_index(height: Any) -> None:
    assert spread_over_height(row(index, height, lesion=False) for index in reversed(range(16))) == list(
        range(1, 16, 2)
    )
