from __future__ import annotations

import numpy as np
import pytest

from brainspade_cli.anatomy import BACKGROUND, CSF, GM, OEDEMA, WM
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.sampling.label_checks import HOLE_PIXELS, crumbs, holes, label_problems, lesion_pixels
from tests.sampling.parts import ellipse_label


def test_a_brain_passes_with_and_without_a_lesion() -> None:
    assert label_problems(ellipse_label(), lesion=False) == ()
    assert label_problems(ellipse_label(tumour=True), lesion=True) == ()
    assert label_problems(ellipse_label(tumour=True), lesion=None) == ()


def test_a_lesion_must_be_there_when_asked_for_and_only_then() -> None:
    assert label_problems(ellipse_label(), lesion=True) == ("the lesion asked for is absent",)
    assert label_problems(ellipse_label(tumour=True), lesion=False) == ("a lesion was not asked for",)


def test_twenty_pixels_make_a_lesion() -> None:
    label = ellipse_label()
    label[90:109, 128] = OEDEMA
    assert lesion_pixels(label) == 19
    assert label_problems(label, lesion=False) == ()
    label[109, 128] = OEDEMA
    assert label_problems(label, lesion=True) == ()


@pytest.mark.parametrize("label", [np.zeros(SLICE_SHAPE, np.uint8), np.full(SLICE_SHAPE, WM, np.uint8)])
def test_no_brain_and_nothing_but_brain_fail(label: np.ndarray) -> None:
    assert "the brain fills" in label_problems(label, lesion=None)[0]


def test_fragments_fail_and_a_few_stray_pixels_do_not() -> None:
    label = ellipse_label()
    label[2:6, 2:6] = GM
    assert label_problems(label, lesion=False) == ()
    for island in range(14):
        label[2:12, 2 + 14 * island : 12 + 14 * island] = GM
    assert "fragments" in label_problems(label, lesion=False)[0]


def test_temporal_lobes_apart_from_the_rest_are_a_brain_and_five_islands_are_none() -> None:
    label = ellipse_label()
    label[2:22, 2:22] = GM
    label[2:22, 40:60] = GM
    assert label_problems(label, lesion=False) == ()
    label[2:22, 80:100] = label[170:190, 2:22] = GM
    assert label_problems(label, lesion=False) == ("the brain is in 5 parts",)


def test_parts_that_touch_at_corners_are_one_brain() -> None:
    label = ellipse_label()
    x, y = np.indices(SLICE_SHAPE)
    label[(x == y // 2 + 30) & (y % 2 == 0)] = BACKGROUND
    assert label_problems(label, lesion=False) == ()


def test_a_brain_that_is_nearly_all_csf_is_none() -> None:
    label = ellipse_label()
    brain = np.argwhere(label != BACKGROUND)
    label[tuple(brain[: int(0.79 * len(brain))].T)] = CSF
    label[tuple(brain[int(0.79 * len(brain)) :].T)] = GM
    assert label_problems(label, lesion=False) == ()
    label[tuple(brain[: int(0.82 * len(brain))].T)] = CSF
    assert label_problems(label, lesion=False) == ("82% of the brain is CSF",)


def test_crumbs_are_small_pieces_apart_from_the_brain() -> None:
    label = ellipse_label()
    label[2:6, 2:6] = GM
    label[2:22, 40:60] = WM
    loose = crumbs(label)
    assert loose[2:6, 2:6].all()
    assert loose.sum() == 16


def test_holes_are_small_and_have_brain_all_around() -> None:
    label = ellipse_label()
    label[90:93, 120:124] = BACKGROUND
    wide = HOLE_PIXELS // 10
    label[100 : 100 + wide, 140:150] = BACKGROUND
    found = holes(label)
    assert found[90:93, 120:124].all()
    assert found.sum() == 12


def test_background_at_the_edge_is_no_hole() -> None:
    label = np.full(SLICE_SHAPE, WM, np.uint8)
    label[0, 5], label[-1, 9], label[7, 0], label[8, -1], label[50, 50] = [BACKGROUND] * 5
    assert np.argwhere(holes(label)).tolist() == [[50, 50]]
    assert not holes(ellipse_label()).any()
