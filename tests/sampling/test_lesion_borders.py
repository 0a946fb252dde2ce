from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CHANNELS, CSF, GM, LESIONS, OEDEMA, TUMOUR, WM
from brainspade_cli.preparing.partial_volumes import quantise
from brainspade_cli.sampling.lesion_borders import REACH, softened
from tests.sampling.parts import ellipse_label, one_hot_maps

LESION = list(LESIONS)


def with_disc(brain: np.ndarray, radius: float, centre: tuple[int, int] = (96, 128)) -> np.ndarray:
    """The brain in white matter, with an oedema of this radius, up to the brain's edge where it comes so far."""
    label = np.where(brain == BACKGROUND, BACKGROUND, WM).astype(np.uint8)
    x, y = np.indices(label.shape)
    label[(np.hypot(x - centre[0], y - centre[1]) <= radius) & (label == WM)] = OEDEMA
    return label


@given(st.integers(0, 2**31), st.floats(0.2, 30.0), st.integers(0, 191), st.integers(0, 255), st.integers(0, 40))
@settings(max_examples=25)
def test_soft_maps_are_partial_volumes_and_the_same_far_away(
    seed: int, spread: float, x: int, y: int, radius: int
) -> None:
    values = spread * np.random.default_rng(seed).standard_normal((CHANNELS, 192, 256))
    inside = np.hypot(*(np.indices((192, 256)) - np.array([x, y])[:, None, None])) <= radius
    values[LESION] = np.where(inside, values[LESION], -np.inf)
    maps = quantise(np.exp(values) / np.exp(values).sum(axis=0))
    before = maps.copy()
    soft = softened(maps)
    assert (maps == before).all()
    assert soft.dtype == np.uint8
    assert (soft.sum(axis=0, dtype=int) == 255).all()
    far = ~ndimage.binary_dilation(maps[LESION].any(axis=0), np.ones((3, 3)), iterations=REACH)
    assert (soft[:, far] == maps[:, far]).all()
    # Background keeps what it has, up to rounding.
    assert np.abs(soft[BACKGROUND].astype(int) - maps[BACKGROUND]).max() <= 1


def test_without_a_lesion_nothing_changes() -> None:
    maps = one_hot_maps(ellipse_label())
    assert (softened(maps) == maps).all()


@pytest.mark.parametrize(
    ("label", "centre"),
    [(ellipse_label(), (96, 128)), (ellipse_label(), (96, 60)), (np.ones((192, 256), np.uint8), (2, 128))],
    ids=["inside", "at the brain's edge", "at the slice's edge"],
)
def test_a_border_falls_where_it_lay_and_fades_on_both_sides(label: np.ndarray, centre: tuple[int, int]) -> None:
    label = with_disc(label, 24, centre)
    maps = one_hot_maps(label)
    soft = softened(maps)
    brain = label != BACKGROUND
    # The brain's own edge is as sharp as before, also where the lesion lies at it.
    assert (soft[BACKGROUND] == maps[BACKGROUND]).all()
    lesion = soft[OEDEMA] / 255
    outside = ndimage.distance_transform_edt(label != OEDEMA)
    within = ndimage.distance_transform_edt(label != WM)
    # Half a pixel, one and a half and more beyond the border: the tail of a normal distribution.
    for distance, share in ((1, 0.37), (2, 0.16), (3, 0.05)):
        assert lesion[brain & (outside == distance)].mean() == pytest.approx(share, abs=0.05)
        assert lesion[brain & (within == distance)].mean() == pytest.approx(1 - share, abs=0.05)
    border = brain & (outside <= 1) & (within <= 1)
    assert (soft.argmax(axis=0) == label)[border].mean() > 0.95
    assert not soft[[CSF, GM, TUMOUR]].any()


@pytest.mark.parametrize("radius", [0.0, 1.0, 2.5])
def test_small_lesions_and_thin_parts_keep_half_of_their_share(radius: float) -> None:
    label = with_disc(ellipse_label(), radius)
    label[60:62, 100:140][label[60:62, 100:140] == WM] = TUMOUR
    maps = one_hot_maps(label)
    soft = softened(maps)
    for channel in LESIONS:
        assert (soft[channel][label == channel] >= 127).all()


def test_the_tissue_at_hand_lies_beneath_a_lesion() -> None:
    label = with_disc(ellipse_label(), 24)
    label[:96][label[:96] == WM] = GM
    maps = one_hot_maps(label)
    # What a lesion's own border leaves of other tissue is not taken for what lies beneath it.
    rim = (label == OEDEMA) & (np.indices(label.shape)[0] > 100)
    maps[CSF, rim], maps[OEDEMA, rim] = 5, 250
    soft = softened(maps)
    border = ndimage.binary_dilation(label == OEDEMA, iterations=2)
    x = np.indices(label.shape)[0]
    assert not soft[WM][border & (x < 85)].any()
    assert not soft[GM][border & (x > 107)].any()
    assert soft[CSF].max() < 10


def test_tissues_beside_a_lesion_stay_as_they_are_mixed() -> None:
    label = with_disc(ellipse_label(), 12)
    maps = one_hot_maps(label)
    x, y = np.argwhere(label == OEDEMA)[-1]
    # An outline of the brain and a fold, two and four pixels beyond the lesion.
    maps[:, x + 3], maps[:, x + 5] = 0, 0
    maps[BACKGROUND, x + 3], maps[CSF, x + 3] = 150, 105
    maps[GM, x + 5], maps[WM, x + 5] = 100, 155
    soft = softened(maps)
    of_tissue = soft[CSF:TUMOUR, x : x + 6, y].astype(float)
    of_tissue /= of_tissue.sum(axis=0)
    assert of_tissue[CSF - 1, 3] == pytest.approx(1)
    assert of_tissue[GM - 1, 5] == pytest.approx(100 / 255, abs=0.02)
    assert soft[BACKGROUND, x + 3, y] == 150
    assert 0 < soft[OEDEMA, x + 3, y] < 40
