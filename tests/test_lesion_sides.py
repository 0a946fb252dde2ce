"""Lesions on the other side of the midline, which lies between columns 95 and 96 of the grid."""

from __future__ import annotations

import numpy as np
import pytest

from brainspade_cli.anatomy import OEDEMA, TUMOUR
from brainspade_cli.lesion_sides import across
from tests.sampling.parts import ellipse_label


def with_main(left: bool) -> np.ndarray:
    """A label with a lesion of radius 15 around x = 116, or its mirror image."""
    label = ellipse_label(tumour=True)
    return label[::-1].copy() if left else label


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("lesion", [TUMOUR, OEDEMA])
def test_a_lesion_on_the_other_side_lies_across(left: bool, lesion: int) -> None:
    label = with_main(left)
    second = np.zeros(label.shape, bool)
    second[50:56, 90:99] = True
    if left:
        second = second[::-1]
    label[second] = lesion
    assert (across(label) == second).all()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("distance", "found"), [(7, False), (9, True)])
def test_a_lesion_near_the_midline_lies_on_no_side(left: bool, distance: int, found: bool) -> None:
    """A piece two columns wide, whose middle lies at a whole number of millimetres."""
    label = with_main(left)
    column = 95 + distance if left else 95 - distance
    label[column : column + 2, 60:70] = TUMOUR
    assert across(label).sum() == (20 if found else 0)


def test_lesions_on_one_side_or_in_one_piece_lie_across_from_none() -> None:
    apart = ellipse_label(tumour=True)
    apart[110:120, 60:70] = TUMOUR
    assert not across(apart).any()
    butterfly = ellipse_label(tumour=True)
    butterfly[60:116, 146:150] = OEDEMA
    assert not across(butterfly).any()
    assert not across(ellipse_label()).any()
    assert not across(np.zeros_like(apart)).any()


def test_of_a_main_lesion_on_the_midline_none_lies_across() -> None:
    label = ellipse_label()
    label[86:106, 100:120] = TUMOUR
    label[50:56, 90:99] = label[140:146, 90:99] = OEDEMA
    assert not across(label).any()
