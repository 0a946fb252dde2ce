from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.errors import InputError
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.intensities import LARGEST, intensity_scale

means = st.floats(-1e4, 1e5)
deviations = st.floats(1e-3, 2e4)


@pytest.mark.parametrize(
    ("mean", "std", "background", "offset", "factor"),
    [
        (300, 80, 0, 0, 1),
        (90, 25, 0, 0, 10),
        (0.5, 0.1, 0, 0, 1000),
        (40_000, 9_000, 0, 0, 0.1),
        (150, 4, 0, 0, 10),
        (0, 1, 0, -5, 100),
        (0, 1, -8, -8, 100),
    ],
)
def test_comfortable_units_stay_and_others_move_by_powers_of_ten(
    mean: float, std: float, background: float, offset: float, factor: float
) -> None:
    scale = intensity_scale(mean, std, background)
    assert (scale.offset, scale.factor) == (offset, pytest.approx(factor))


@given(means, deviations, st.floats(-1e4, 1e4))
def test_every_scan_fits_into_int16_with_a_brain_of_one_and_more(mean: float, std: float, background: float) -> None:
    scale = intensity_scale(mean, std, background)
    image = np.array([BACKGROUND_VALUE, -3.9, -1, 0, 1, 30], np.float32)
    stored = scale.store(image)
    assert stored.dtype == np.int16
    assert stored[0] == scale.stored_background >= 0
    assert stored[1:].min() >= 1
    assert (np.diff(stored[1:].astype(int)) >= 0).all()
    # The brain's middle is never clipped, and a standard deviation spans enough integers.
    assert abs(scale.z_scores(stored[3:4])[0]) <= 0.51 / (std * scale.factor)
    assert stored[3] < LARGEST


def test_background_is_stored_exactly_as_in_the_scan() -> None:
    assert intensity_scale(500, 100, 12).store(np.full((2, 2), BACKGROUND_VALUE, np.float32)).tolist() == [[12] * 2] * 2


@pytest.mark.parametrize("bad", [(1, 0, 0), (float("nan"), 1, 0), (1, float("inf"), 0)])
def test_a_scan_without_contrast_is_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="no contrast"):
        intensity_scale(*bad)
