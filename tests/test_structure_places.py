"""Structures of a fixed place: where people have them, and what lies elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainspade_cli.anatomy import BRAINSTEM, DEEP_GM, NAMES, WM
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.structure_places import CELL_PIXELS, DIGITS, count_places, misplaced, open_places
from tests.sampling.parts import ellipse_label

BINS = 4


def with_piece(structure: int, x: int, y: int, side: int = 10) -> np.ndarray:
    label = ellipse_label()
    label[x : x + side, y : y + side] = structure
    return label


@given(
    st.lists(
        st.tuples(
            st.integers(0, BINS - 1), st.sampled_from([DEEP_GM, BRAINSTEM]), st.integers(0, 180), st.integers(0, 240)
        ),
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
def test_what_was_counted_is_in_its_place(pieces: list[tuple[int, int, int, int]]) -> None:
    labels = [(height, with_piece(structure, x, y)) for height, structure, x, y in pieces]
    counted = count_places(labels, BINS)
    assert set(counted) == {NAMES[structure] for _, structure, *_ in pieces}
    assert all(len(rows) == BINS and all(len(row) == DIGITS for row in rows) for rows in counted.values())
    opened = open_places(counted)
    for height, label in labels:
        for structure, places in opened.items():
            assert places.shape == (BINS, *SLICE_SHAPE)
            for near in range(max(height - 1, 0), min(height + 2, BINS)):
                assert places[near][label == structure].all()
                assert not misplaced(label, structure, places[near]).any()


@pytest.mark.parametrize(("height", "may_lie"), [(0, False), (1, True), (2, True), (3, True)])
def test_a_place_holds_for_a_bin_above_and_below(height: int, may_lie: bool) -> None:
    label = with_piece(BRAINSTEM, 92, 100)
    places = open_places(count_places([(2, label)], BINS))[BRAINSTEM]
    assert misplaced(label, BRAINSTEM, places[height]).any() == (not may_lie)


def test_pieces_that_lie_mostly_outside_are_misplaced_and_no_others() -> None:
    edge = 12 * CELL_PIXELS
    places = open_places(count_places([(0, with_piece(DEEP_GM, edge - 24, 100, 24))], 1))[DEEP_GM][0]
    assert places[edge - 1, 110]
    assert not places[edge, 110]
    label = ellipse_label()
    label[edge - 5 : edge + 5, 100:105] = DEEP_GM
    label[edge - 4 : edge + 5, 110:115] = DEEP_GM
    label[60:64, 180:184] = DEEP_GM
    label[60:64, 190:194] = BRAINSTEM
    strays = misplaced(label, DEEP_GM, places)
    assert not strays[:, 100:105].any()
    assert strays[:, 110:115].sum() == 9 * 5
    assert strays[60:64, 180:184].all()
    assert strays.sum() == 9 * 5 + 16


def test_a_structure_that_nobody_has_has_no_place() -> None:
    assert count_places([(0, ellipse_label())], BINS) == {}
    assert open_places({}) == {}
    assert NAMES[WM] not in count_places([(1, with_piece(DEEP_GM, 90, 90))], BINS)
