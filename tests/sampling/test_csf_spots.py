from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from brainspade_cli.anatomy import BACKGROUND, BRAINSTEM, CSF, DEEP_GM, GM, OEDEMA, TUMOUR, WM
from brainspade_cli.sampling.csf_spots import KEPT, with_dark_csf, without_spots
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.slices import BACKGROUND_VALUE
from tests.sampling.parts import ellipse_label, one_hot_maps

MEANS = {CSF: -1.5, GM: 0.5, WM: 0.0, DEEP_GM: 0.3, BRAINSTEM: 0.1, TUMOUR: 2.0, OEDEMA: 2.5}
SPOT = np.s_[95:99, 121:126]
BRIGHT = 9.0


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


def test_a_bright_spot_in_csf_becomes_as_dark_as_csf_is() -> None:
    image = image_of(PLAIN)
    spotted = image.copy()
    spotted[SPOT] = BRIGHT
    spotted[98:103, 123] = 2.0  # less bright, and part of it
    mended = without_spots(spotted, draw_of(PLAIN))
    assert mended[spotted != image] == pytest.approx(MEANS[CSF], abs=0.1)
    assert (mended[spotted == image] == image[spotted == image]).all()


def test_what_is_too_bright_beside_a_spot_becomes_as_tissue_is() -> None:
    label = PLAIN.copy()
    label[92:95, 116:132] = WM
    image = image_of(label)
    spotted = image.copy()
    spotted[SPOT] = BRIGHT
    spotted[94, 121:126] = 3.0
    spotted[60, 100:105] = 3.0  # far from it
    mended = without_spots(spotted, draw_of(label))
    assert mended[94, 121:126] == pytest.approx(MEANS[WM], abs=0.1)
    assert (mended[60] == spotted[60]).all()


def test_partial_volumes_of_a_spot_become_a_mixture() -> None:
    draw = draw_of(PLAIN)
    maps = draw.maps.copy()
    x, y = 95, 121
    maps[:, x, y] = 0
    maps[CSF, x, y], maps[WM, x, y] = 153, 102
    spotted = image_of(PLAIN)
    spotted[SPOT] = BRIGHT
    mended = without_spots(spotted, LabelDraw(maps, PLAIN, 0.0, lesion=False))
    assert mended[x, y] == pytest.approx(0.6 * MEANS[CSF] + 0.4 * MEANS[WM], abs=0.1)


@pytest.mark.parametrize(
    ("label", "csf", "spot"),
    [
        pytest.param(PLAIN, MEANS[CSF], None, id="no spot"),
        pytest.param(PLAIN, 3.0, BRIGHT, id="CSF is bright, as in a T2"),
        pytest.param(ellipse_label(), MEANS[CSF], None, id="a slice without a ventricle"),
        pytest.param(np.zeros_like(PLAIN), MEANS[CSF], None, id="an empty slice"),
    ],
)
def test_all_else_stays(label: NDArray[np.uint8], csf: float, spot: float | None) -> None:
    image = image_of(label, csf)
    if spot is not None:
        image[SPOT] = spot
    assert (without_spots(image.copy(), draw_of(label)) == image).all()


def test_what_is_beside_a_lesion_stays() -> None:
    label = PLAIN.copy()
    label[104:110, 116:132] = OEDEMA
    image = image_of(label)
    image[100:103, 120:124] = BRIGHT
    mended = without_spots(image.copy(), draw_of(label))
    assert (mended == image).all()


def test_half_of_the_pairs_lose_their_spots_and_an_index_decides() -> None:
    spotted = image_of(PLAIN)
    spotted[SPOT] = BRIGHT
    images, draw = np.stack([image_of(PLAIN), spotted]), draw_of(PLAIN)
    mended = [with_dark_csf(images, draw, 7, index) for index in range(120)]
    kept = np.mean([bool((one == images).all()) for one in mended])
    assert kept == pytest.approx(KEPT, abs=0.12)
    assert all((one[0] == images[0]).all() for one in mended)
    again = [with_dark_csf(images, draw, 7, index) for index in range(120)]
    assert all((one == two).all() for one, two in zip(mended, again, strict=True))
