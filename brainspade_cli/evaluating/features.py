"""A fixed feature network for comparing sets of brain images: filters given by formulas, two layers, nothing learned.

It needs no download and gives the same features on every machine. Its figures say how sets rank against each other and
against real people; they are not those of networks trained on photographs, and not to be compared with published ones.

What a slice is described by, in its inner and its outer part (inside and outside an ellipse around the brain's middle):

    brightness   shares of the brain in each of 12 overlapping ranges of its z-score
    edges        energy of oriented filters at 4 scales and 4 angles, and of bright and of dark lines at each scale
    texture      how much the energy of each scale varies at each coarser scale
    borders      how energy at each scale goes together with brightness
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

NAME = "oriented-filters-1"
SCALES = 4
ANGLES = 4
LEVELS = 12
LOWEST, HIGHEST = -2.5, 3.0
# The inner part reaches to this share of the way from the brain's middle to its edge.
INNER = 0.6
_SIGMA = 1.2
_REACH = 3
SIZE = 2 * (LEVELS + SCALES * (ANGLES + 2) + SCALES * (SCALES - 1) // 2 + SCALES)


class FixedFeatures:
    """The feature network; calling it describes one slice."""

    def __init__(self) -> None:
        self._filters = _oriented_filters()
        self._levels = torch.linspace(LOWEST, HIGHEST, LEVELS).view(1, LEVELS, 1, 1)

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Features (SIZE,) of a slice (X, Y), standardised over its brain and 0 outside, and where its brain is."""
        if not brain.any():
            return np.zeros(SIZE, np.float32)
        box = _box(brain)
        parts = _parts(brain[box])
        picture = torch.from_numpy(np.ascontiguousarray(image[box]))[None, None]
        found = [_pooled(self._brightness(picture), parts)]
        energies = []
        for scale in range(SCALES):
            if scale:
                picture, parts = F.avg_pool2d(picture, 2), F.avg_pool2d(parts, 2)
            responses = F.conv2d(picture, self._filters, padding=_REACH)
            lines, slopes = responses[:, :ANGLES], responses[:, ANGLES:]
            energy = (lines.square() + slopes.square()).sqrt()
            bright, dark = F.relu(lines).mean(1, keepdim=True), F.relu(-lines).mean(1, keepdim=True)
            together = energy.mean(1, keepdim=True)
            energies.append((together, parts))
            found.append(torch.log1p(10 * _pooled(torch.cat([energy, bright, dark], 1), parts)))
            found.append(_pooled(together * picture, parts))
        found += [torch.log1p(10 * self._texture(*energies[fine], coarse - fine)) for fine, coarse in _PAIRS]
        features: NDArray[np.float32] = torch.cat(found, 1).ravel().numpy()
        return features

    def _brightness(self, picture: Tensor) -> Tensor:
        """How much each pixel belongs to each range, (1, LEVELS, X, Y), summing to 1."""
        step = (HIGHEST - LOWEST) / (LEVELS - 1)
        return F.relu(1 - (picture.clamp(LOWEST, HIGHEST) - self._levels).abs() / step)

    def _texture(self, energy: Tensor, parts: Tensor, steps: int) -> Tensor:
        """Mean strength of the lines and slopes in an energy map that lie `steps` scales above it."""
        for _ in range(steps):
            energy, parts = F.avg_pool2d(energy, 2), F.avg_pool2d(parts, 2)
        responses = F.conv2d(energy, self._filters, padding=_REACH)
        return _pooled(responses.square().mean(1, keepdim=True).sqrt(), parts)


_PAIRS = tuple(combinations(range(SCALES), 2))


def _oriented_filters() -> Tensor:
    """Second and first derivatives of a Gaussian along each angle, (2 * ANGLES, 1, 7, 7), each of unit strength."""
    axis = torch.arange(-_REACH, _REACH + 1, dtype=torch.float32)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    bell = torch.exp(-(x.square() + y.square()) / (2 * _SIGMA**2))
    lines, slopes = [], []
    for angle in range(ANGLES):
        turn = math.pi * angle / ANGLES
        along = (x * math.cos(turn) + y * math.sin(turn)) / _SIGMA
        line = (1 - along.square()) * bell
        # Without a mean, so that an even area gives nothing.
        lines.append(line - bell * line.sum() / bell.sum())
        slopes.append(along * bell)
    filters = torch.stack([*lines, *slopes])
    return (filters / filters.abs().sum(dim=(1, 2), keepdim=True))[:, None]


def _box(brain: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The box around a brain. Outside it there is nothing to filter, and where it stands does not matter."""
    return _span(np.flatnonzero(brain.any(axis=1)), brain.shape[0]), _span(
        np.flatnonzero(brain.any(axis=0)), brain.shape[1]
    )


def _span(places: NDArray[np.int64], side: int) -> slice:
    # Even at the coarsest scale there have to be a few pixels.
    least = 2 ** (SCALES + 1)
    start = max(0, min(int(places[0]), side - least))
    return slice(start, max(int(places[-1]) + 1, start + least))


def _parts(brain: NDArray[np.bool_]) -> Tensor:
    """The inner and the outer part of a brain, (1, 2, X, Y) of ones and zeros."""
    x, y = np.nonzero(brain)
    # An even ellipse has standard deviations of half its radii.
    across = (np.arange(brain.shape[0]) - x.mean()) / (2 * x.std() + 1e-6)
    along = (np.arange(brain.shape[1]) - y.mean()) / (2 * y.std() + 1e-6)
    inside = np.hypot(across[:, None], along[None, :]) < INNER
    return torch.from_numpy(np.stack([brain & inside, brain & ~inside]).astype(np.float32))[None]


def _pooled(maps: Tensor, parts: Tensor) -> Tensor:
    """Means of maps (1, C, X, Y) over each part, (1, 2 * C)."""
    areas = parts.sum(dim=(2, 3)).clamp_min(1e-6)
    return (torch.einsum("bcxy,bpxy->bpc", maps, parts) / areas[..., None]).flatten(1)
