"""From z-scores to integers that look like the style scan's own intensities."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import InputError
from brainspade_cli.slices import BACKGROUND_VALUE

LARGEST = np.iinfo(np.int16).max
# A brain whose mean lies in this range keeps its units, if one SD is at least MIN_STEPS integers wide.
COMFORTABLE = (100.0, 8000.0)
MIN_STEPS = 10.0
# Beyond these no power of ten brings a scan into range.
MIN_STD, MAX_INTENSITY = 1e-30, 1e12


@dataclass(frozen=True)
class IntensityScale:
    """How the images of one style scan are stored: stored = (value - offset) * factor, value = z * std + mean.

    `mean` and `std` are of the scan's brain and `background` is what lies outside it, all in scan units. `offset` is 0
    and `factor` 1 wherever int16 holds the scan's own units well; else `factor` is a power of ten, and `offset` moves
    scans that go below zero (z-scored ones, for instance) above it.
    """

    mean: float
    std: float
    background: float
    offset: float
    factor: float

    @property
    def stored_background(self) -> int:
        """What lies outside the brain, as it is stored."""
        return round(min(max((self.background - self.offset) * self.factor, 0.0), LARGEST))

    def store(self, image: NDArray[np.float32]) -> NDArray[np.int16]:
        """A z-scored image (any shape, `BACKGROUND_VALUE` outside the brain) as int16 with a brain of 1 or more."""
        values = (image * np.float32(self.std) + np.float32(self.mean - self.offset)) * np.float32(self.factor)
        stored = np.clip(np.rint(values), 1, LARGEST)
        return np.where(image == BACKGROUND_VALUE, self.stored_background, stored).astype(np.int16)

    def z_scores(self, stored: NDArray[np.int16]) -> NDArray[np.float32]:
        """Stored integers back on the z-scored scale."""
        return ((stored / self.factor + self.offset - self.mean) / self.std).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def intensity_scale(mean: float, std: float, background: float) -> IntensityScale:
    """The scale for a scan; raises InputError where its intensities are not finite or do not vary."""
    numbers = (mean, std, background)
    if not all(map(math.isfinite, numbers)) or std < MIN_STD or max(map(abs, numbers)) > MAX_INTENSITY:
        raise InputError(f"A brain with mean {mean} and standard deviation {std} has no contrast to paint with.")
    fits = background >= 0 and mean > std
    offset = 0.0 if fits else min(background, mean - 5 * std)
    level, low, high = mean - offset, *COMFORTABLE
    power = 0
    while level * 10.0**power > high:
        power -= 1
    while level * 10.0**power < low or (std * 10.0**power < MIN_STEPS and level * 10.0 ** (power + 1) <= high):
        power += 1
    return IntensityScale(mean, std, background, offset, 10.0**power)
