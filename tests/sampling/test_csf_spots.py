from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, BRAINSTEM, CSF, DEEP_GM, GM, OEDEMA, TUMOUR, WM
from brainspade_cli.geometry import DIAGONALS_TOO
from brainspade_cli.sampling import csf_spots
from brainspade_cli.sampling.csf_spots import BLEND_PIXELS, HALO_PIXELS, robust_scale, with_fewer_spots, without_spots
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.sampling.lesion_borders import REACH
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.randomness import Stream, generator
from brainspade_cli.slices import BACKGROUND_VALUE
from tests.sampling.parts import ellipse_label, one_hot_maps

MEANS = {CSF: -1.5, GM: 0.5, WM: 0.0, DEEP_GM: 0.3, BRAINSTEM: 0.1, TUMOUR: 2.0, OEDEMA: 2.5}
SPOT = np.s_[95:99, 121:126]
BRIGHT = 9.0
NO_LIMIT = (math.inf,) * 3
Place = tuple[slice, slice]
BLEND_REACH = math.ceil(4 * BLEND_PIXELS) + HALO_PIXELS


def draw_of(label: NDArray[np.uint8]) -> LabelDraw:
    return LabelDraw(one_hot_maps(label), label, 0.0, lesion=bool((label >= TUMOUR).any()))


def with_ventricle(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    label = label.copy()
    label[92:104, 116:132] = CSF
    return label


def image_of(label: NDArray[np.uint8], csf: float = MEANS[CSF]) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(0, 0.2, label.shape)
    means = np.array([BACKGROUND_VALUE, *({**MEANS, CSF: csf}[tissue] for tissue in range(1, 8))])
    return np.where(label == BACKGROUND, BACKGROUND_VALUE, means[label] + noise).astype(np.float32)


PLAIN = with_ventricle(ellipse_label())


def at(scale: float) -> float:
    """The value so many robust standard deviations above the median of the plain image's brain."""
    centre, spread = robust_scale(image_of(PLAIN)[PLAIN != BACKGROUND])
    return float(centre + scale * spread)


def mended(*places: tuple[Place, float], label: NDArray[np.uint8] = PLAIN) -> NDArray[np.bool_]:
    """Which pixels change of an image with these values at these places."""
    image = image_of(label)
    for place, value in places:
        image[place] = value
    return without_spots(image.copy(), draw_of(label))[0] != image


def test_a_bright_spot_in_csf_becomes_as_dark_as_csf_is() -> None:
    image = image_of(PLAIN)
    spotted = image.copy()
    spotted[SPOT] = BRIGHT
    spotted[99:103, 126] = at(1.5)  # less bright, and part of it, corner to corner
    result, _ = without_spots(spotted, draw_of(PLAIN))
    assert result[spotted != image] == pytest.approx(MEANS[CSF], abs=0.1)
    far = ~ndimage.binary_dilation(spotted != image, DIAGONALS_TOO, BLEND_REACH)
    assert (result[far] == image[far]).all()
    assert np.abs(result - image)[spotted == image].max() < 1


def test_pixels_of_spots_and_too_bright_ones_beside_are_counted_and_blended_ones_are_not() -> None:
    label = PLAIN.copy()
    label[88:95, 116:132] = WM
    spotted = image_of(label)
    spotted[SPOT] = BRIGHT
    spotted[99, 121:126] = at(1.5)  # part of it
    spotted[94, 121:123] = at(1.8)  # beside it, and too bright
    result, pixels = without_spots(spotted.copy(), draw_of(label))
    assert (result != spotted).sum() > pixels == 20 + 5 + 2


def test_what_is_as_bright_beside_a_spot_as_its_tissue_is_stays_and_is_not_counted() -> None:
    label = PLAIN.copy()
    label[88:95, 116:132] = BRAINSTEM
    spotted = image_of(label)
    spotted[label == BRAINSTEM] = at(2.5)
    spotted[SPOT] = BRIGHT
    spotted[94, 122] = at(1.8)
    result, pixels = without_spots(spotted.copy(), draw_of(label))
    assert (result[label == BRAINSTEM] == spotted[label == BRAINSTEM]).all()
    assert pixels == 20


def test_what_is_no_part_of_a_spot_stays() -> None:
    bright_apart = np.s_[100:104, 130:132]
    changed = mended((SPOT, BRIGHT), (bright_apart, at(3.5)))
    assert changed[SPOT].all()
    assert not changed[bright_apart].any()


@pytest.mark.parametrize(("peak", "is_spot"), [(3.7, False), (4.3, True)])
def test_a_spot_peaks_four_deviations_above_the_median(peak: float, is_spot: bool) -> None:
    assert mended((SPOT, at(peak)))[SPOT].all() == is_spot
    assert mended((SPOT, at(peak))).any() == is_spot


@pytest.mark.parametrize(("value", "goes"), [(1.3, False), (1.8, True)])
def test_what_is_too_bright_beside_a_spot_becomes_as_tissue_is(value: float, goes: bool) -> None:
    label = PLAIN.copy()
    label[88:95, 116:132] = WM
    image = image_of(label)
    spotted = image.copy()
    spotted[SPOT] = BRIGHT
    spotted[88:95, 121:126] = at(value)
    result, _ = without_spots(spotted, draw_of(label))
    near = np.s_[95 - HALO_PIXELS : 95, 121:126]
    assert (result[near] == pytest.approx(MEANS[WM], abs=0.1)) == goes
    beyond = np.s_[88 : 95 - HALO_PIXELS, 121:126]
    # Blended there, not replaced.
    assert (result[beyond].mean(axis=1) > MEANS[WM] + 0.2).all()
    assert np.diff(result[beyond].mean(axis=1)).max() < 0.05
    if goes:
        assert result[beyond].mean(axis=1)[-1] < result[beyond].mean(axis=1)[0] - 0.1


def test_nothing_outside_the_brain_is_painted() -> None:
    label = PLAIN.copy()
    label[:95] = BACKGROUND
    image = image_of(label)
    image[SPOT] = image[93:95, 121:126] = BRIGHT
    result, _ = without_spots(image.copy(), draw_of(label))
    assert (result[93:95] == image[93:95]).all()
    assert (result[SPOT] < 0).all()


def test_partial_volumes_of_a_spot_become_a_mixture() -> None:
    draw = draw_of(PLAIN)
    maps = draw.maps.copy()
    x, y = 95, 121
    maps[:, x, y] = 0
    maps[CSF, x, y], maps[WM, x, y] = 153, 102
    spotted = image_of(PLAIN)
    spotted[SPOT] = BRIGHT
    result, _ = without_spots(spotted, LabelDraw(maps, PLAIN, 0.0, lesion=False))
    assert result[x, y] == pytest.approx(0.6 * MEANS[CSF] + 0.4 * MEANS[WM], abs=0.1)


@pytest.mark.parametrize(
    ("label", "csf", "spot"),
    [
        pytest.param(PLAIN, MEANS[CSF], None, id="no spot"),
        pytest.param(PLAIN, 3.0, BRIGHT, id="CSF is bright, as in a T2"),
        pytest.param(PLAIN, 1.5, BRIGHT, id="CSF is a little brighter than the brain"),
        pytest.param(np.where(PLAIN == CSF, GM, PLAIN), MEANS[CSF], BRIGHT, id="no CSF"),
        pytest.param(np.zeros_like(PLAIN), MEANS[CSF], None, id="an empty slice"),
    ],
)
def test_all_else_stays(label: NDArray[np.uint8], csf: float, spot: float | None) -> None:
    image = image_of(label, csf)
    if spot is not None:
        image[SPOT] = spot
    result, pixels = without_spots(image.copy(), draw_of(label))
    assert (result == image).all()
    assert pixels == 0


@pytest.mark.parametrize("csf", [MEANS[CSF], at(0.8)])
def test_csf_as_bright_as_the_brain_loses_its_spots_as_well(csf: float) -> None:
    image = image_of(PLAIN, csf)
    image[SPOT] = BRIGHT
    assert without_spots(image, draw_of(PLAIN))[0][SPOT] == pytest.approx(csf, abs=0.1)


def test_nothing_becomes_brighter() -> None:
    image = image_of(PLAIN)
    image[SPOT] = BRIGHT
    assert (without_spots(image, draw_of(PLAIN))[0] <= image).all()


@pytest.mark.parametrize("lesion", [TUMOUR, OEDEMA])
def test_as_far_as_a_lesion_s_border_reaches_spots_stay(lesion: int) -> None:
    label = PLAIN.copy()
    label[104 + REACH - 3 : 120, 116:132] = lesion
    changed = mended((np.s_[94:104, 120:126], BRIGHT), label=label)
    assert not changed[101:].any()
    assert changed[94:101, 120:126].all()


@given(st.integers(0, 2**31), st.integers(0, 10_000))
def test_a_pair_keeps_its_spots_or_loses_them_in_every_channel(seed: int, index: int) -> None:
    spotted = image_of(PLAIN)
    spotted[SPOT] = BRIGHT
    images, draw, plan = np.stack([spotted, image_of(PLAIN), spotted]), draw_of(PLAIN), PairPlan(seed)
    result, pixels = with_fewer_spots(images, draw, plan, index, NO_LIMIT)
    lost = generator(seed, Stream.CSF_SPOTS, index).random() >= csf_spots.KEPT
    assert [bool((one != other).any()) for one, other in zip(result, images, strict=True)] == [lost, False, lost]
    assert result.dtype == np.float32
    assert pixels == ((20, 0, 20) if lost else (0, 0, 0))


def test_spots_that_stay_are_no_brighter_than_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    label = PLAIN.copy()
    label[104 + REACH - 3 : 120, 116:132] = TUMOUR
    image = image_of(label)
    image[SPOT] = BRIGHT
    image[103, 120] = image[112, 120] = BRIGHT  # near a lesion, and in it
    # Nor is white matter, which in T1s is what is brightest.
    image[60, 121] = 6.0
    monkeypatch.setattr(csf_spots, "KEPT", 1.0)
    result, pixels = with_fewer_spots(np.stack([image] * 3), draw_of(label), PairPlan(7), 0, (4.0, 5.0, math.inf))
    assert result.dtype == np.float32
    assert pixels == (0, 0, 0)
    for channel, limit in enumerate((4.0, 5.0, BRIGHT)):
        expected = image.copy()
        expected[SPOT] = limit
        assert (result[channel] == expected).all()


def test_as_many_pairs_keep_their_spots_as_are_to(monkeypatch: pytest.MonkeyPatch) -> None:
    spotted = image_of(PLAIN)
    spotted[SPOT] = BRIGHT
    monkeypatch.setattr(csf_spots, "KEPT", 0.2)
    pixels = [
        with_fewer_spots(spotted[None], draw_of(PLAIN), PairPlan(7), index, NO_LIMIT[:1])[1] for index in range(200)
    ]
    assert np.mean([one == (0,) for one in pixels]) == pytest.approx(0.2, abs=0.08)
