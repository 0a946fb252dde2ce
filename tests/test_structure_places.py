"""Structures of a fixed place: where people have them, and what lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainspade_cli.anatomy import BRAINSTEM, DEEP_GM, NAMES
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.structure_places import (
    CELL_PIXELS,
    DIGITS,
    FEWEST_PEOPLE,
    count_places,
    join_places,
    misplaced,
    open_places,
)
from tests.sampling.parts import ellipse_label

BINS = 4


def with_piece(structure: int, x: int, y: int, side: int = 10) -> np.ndarray:
    label = ellipse_label()
    label[x : x + side, y : y + side] = structure
    return label


def counted(labels: Iterable[tuple[int, np.ndarray]], bins: int = BINS) -> dict[str, tuple[str, ...]]:
    """Places in these labels, and in enough people without a structure who have slices at every height."""
    plain = [(height, person, ellipse_label()) for height in range(bins) for person in range(FEWEST_PEOPLE)]
    return count_places([*plain, *((height, 0, label) for height, label in labels)], bins)


PIECES = st.lists(
    st.tuples(
        st.integers(0, BINS - 1), st.sampled_from([DEEP_GM, BRAINSTEM]), st.integers(0, 180), st.integers(0, 240)
    ),
    max_size=6,
)


@given(PIECES)
@settings(max_examples=30)
def test_what_was_counted_is_in_its_place_and_so_is_its_mirror_image(pieces: list[tuple[int, int, int, int]]) -> None:
    labels = [(height, with_piece(structure, x, y)) for height, structure, x, y in pieces]
    rows = counted(labels)
    assert set(rows) == {NAMES[structure] for _, structure, *_ in pieces}
    assert all(len(row) == BINS and all(len(digits) == DIGITS for digits in row) for row in rows.values())
    opened = open_places(rows)
    assert all(places.shape == (BINS, *SLICE_SHAPE) for places in opened.values())
    for height, label in labels:
        for near in range(max(height - 1, 0), min(height + 2, BINS)):
            assert not misplaced(label, opened, near).any()
            assert not misplaced(label[::-1], opened, near).any()


@given(PIECES, PIECES)
@settings(max_examples=20)
def test_joined_places_are_those_of_both(
    some: list[tuple[int, int, int, int]], others: list[tuple[int, int, int, int]]
) -> None:
    first, second = (
        [(height, with_piece(structure, x, y)) for height, structure, x, y in pieces] for pieces in (some, others)
    )
    joined, together = join_places(counted(first), counted(second)), counted([*first, *second])
    assert joined == {name: together[name] for name in set(counted(first)) & set(counted(second))}


def test_places_of_other_heights_are_not_joined() -> None:
    label = with_piece(BRAINSTEM, 92, 100)
    assert join_places(counted([(0, label)]), counted([(0, label)], bins=2)) == {}
    assert join_places(counted([(0, label)]), {}) == {}


@pytest.mark.parametrize(("height", "may_lie"), [(0, False), (1, True), (2, True), (3, True)])
def test_a_place_holds_for_a_bin_above_and_below(height: int, may_lie: bool) -> None:
    label = with_piece(BRAINSTEM, 92, 100)
    assert misplaced(label, open_places(counted([(2, label)])), height).any() == (not may_lie)


@pytest.mark.parametrize(("people", "told"), [(FEWEST_PEOPLE - 1, False), (FEWEST_PEOPLE, True)])
def test_heights_of_few_people_are_told_of_nobody(people: int, told: bool) -> None:
    """Then a structure may lie anywhere, and the rows say nothing of where theirs lies."""
    label = with_piece(BRAINSTEM, 92, 100)
    rows = count_places([(0, person, label) for person in range(people) for _ in range(3)], 1)["brainstem"]
    assert (rows == ("f" * DIGITS,)) == (not told)
    elsewhere = with_piece(BRAINSTEM, 60, 180)
    assert misplaced(elsewhere, open_places({"brainstem": rows}), 0).any() == told


def test_pieces_that_lie_mostly_outside_are_misplaced_and_no_others() -> None:
    edge = 16 * CELL_PIXELS
    places = open_places(counted([(0, with_piece(DEEP_GM, edge - 24, 100, 24))], 1))
    assert places[DEEP_GM][0, edge - 1, 110]
    assert not places[DEEP_GM][0, edge, 110]
    label = ellipse_label()
    label[edge - 5 : edge + 5, 100:105] = DEEP_GM
    label[edge - 4 : edge + 5, 110:115] = DEEP_GM
    label[60:64, 180:184] = DEEP_GM
    # Of this one nothing was told.
    label[60:64, 190:194] = BRAINSTEM
    strays = misplaced(label, places, 0)
    assert not strays[:, 100:105].any()
    assert strays[:, 110:115].sum() == 9 * 5
    assert strays[60:64, 180:184].all()
    assert strays.sum() == 9 * 5 + 16


def test_a_structure_that_nobody_has_has_no_place() -> None:
    assert counted([]) == {}
    assert set(counted([(1, with_piece(DEEP_GM, 90, 90))])) == {"deep_gm"}
