"""A slice as it is compared: its folds alone, centred, at 2 mm, without whatever a copyist could change at no cost.

A label becomes a picture first, tissues at fixed brightnesses; from there on labels and images go the same way. The
brain's middle goes to the middle of the frame; slow changes of brightness and the brain's outline, which people have in
common, are taken away, and what is left is divided by its strength nearby. Brightness and contrast are gone then, and
noise of single pixels with the step to 2 mm. Mirror images and rotations are left to the search (`codes`, `alignment`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.anatomy import BRAINSTEM, CHANNELS, CSF, DEEP_GM, GM, OEDEMA, TUMOUR, WM

# Frame around the brain's middle in pixels of 1 mm, and its sides at 2 mm.
REACH = (160, 208)
FRAME = (REACH[0] // 2, REACH[1] // 2)
# Standard deviations of the filters, in pixels of 2 mm.
_FINE = 0.7
_COARSE = 3.0
_ROUGH = 1.2
# Strength below which nothing is made of an even area, as a share of the strength over the whole brain.
_FLOOR = 0.5
# Brightness of each tissue as in a T1, lesions apart from all of them.
_BRIGHTNESS = {CSF: -1.0, GM: 0.0, WM: 1.0, DEEP_GM: 0.4, BRAINSTEM: 0.8, TUMOUR: -1.6, OEDEMA: 1.8}


def label_picture(label: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A label of this project's table (X, Y) as a picture, 0 in the background."""
    table = np.zeros(CHANNELS, np.float32)
    for channel, brightness in _BRIGHTNESS.items():
        table[channel] = brightness
    return table[label]


def middle(brain: NDArray[np.bool_]) -> tuple[int, int]:
    """Where a brain (X, Y) has its middle, in whole pixels; that of the frame where there is no brain."""
    if not brain.any():
        return brain.shape[0] // 2, brain.shape[1] // 2
    # Halves go up, not to the even number: a brain that moves by a pixel has its middle moved by a pixel.
    x, y = (math.floor(float(places.mean()) + 0.5) for places in np.nonzero(brain))
    return x, y


def centred(picture: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Picture and brain, float32 (2, *REACH), cut out around the brain's middle; 0 outside the brain."""
    cut = np.zeros((2, *REACH), np.float32)
    source: list[slice] = []
    target: list[slice] = []
    for centre, side, extent in zip(middle(brain), REACH, brain.shape, strict=True):
        start = centre - side // 2
        low, high = max(0, start), min(extent, start + side)
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    place = tuple(target)
    cut[0][place] = np.where(brain, picture, 0)[tuple(source)]
    cut[1][place] = brain[tuple(source)]
    return cut


def canonical(cuts: Tensor) -> Tensor:
    """Folds (N, *FRAME) of `centred` slices (N, 2, *REACH): mean square 1 over the frame, or all 0 without a brain."""
    picture, brain = F.avg_pool2d(cuts, 2).split(1, dim=1)
    fine = blur(picture, _FINE) / blur(brain, _FINE).clamp_min(1e-3)
    coarse = blur(picture, _COARSE) / blur(brain, _COARSE).clamp_min(1e-3)
    folds = (fine - coarse) * brain
    strength = blur(folds.square(), _COARSE) / blur(brain, _COARSE).clamp_min(1e-3)
    overall = folds.square().sum((2, 3), keepdim=True) / brain.sum((2, 3), keepdim=True).clamp_min(1)
    folds = folds / (strength + _FLOOR**2 * overall).sqrt().clamp_min(1e-6)
    return unit((folds * brain).squeeze(1))


def unit(folds: Tensor) -> Tensor:
    """The same (N, *FRAME) with mean square 1, all 0 where it was 0."""
    strength = folds.square().mean((-2, -1), keepdim=True).sqrt()
    return torch.where(strength > 1e-6, folds / strength.clamp_min(1e-6), torch.zeros_like(folds))


def rough(folds: Tensor) -> Tensor:
    """Folds at 4 mm, (N, *FRAME / 2), mean square 1, from those at 2 mm."""
    return unit(F.avg_pool2d(blur(folds, _ROUGH)[:, None], 2)[:, 0])


def blur(maps: Tensor, deviation: float) -> Tensor:
    """Maps (..., X, Y) smoothed by a Gaussian, 0 beyond the frame."""
    along, across = (_bells(side, deviation, maps.dtype) for side in maps.shape[-2:])
    return along @ maps @ across


def _bells(side: int, deviation: float, dtype: torch.dtype) -> Tensor:
    """Smoothing along one axis as a matrix (side, side), which is faster than a convolution on so few pixels."""
    places = torch.arange(side, dtype=dtype)
    away = (places[:, None] - places).abs()
    bells = torch.exp(-away.square() / (2 * deviation**2)) / (deviation * math.sqrt(2 * math.pi))
    # Far tails would be numbers so small that a processor is slow with them.
    return torch.where(away <= 4 * deviation, bells, 0)
