"""Descriptors for the search: the folds of a slice at 4 mm, seen along fixed random directions.

The directions are fixed, so nothing of anybody is in them. Random directions keep angles: the cosine of two descriptors
is that of the folds to within about 1 / sqrt(SIZE). What is looked for is described once in each mirror image and
rotation; as these are linear, that takes no more than one larger matrix, of directions moved the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from brainspade_cli.auditing.alignment import rotation, warp
from brainspade_cli.auditing.canonical import FRAME, blur, rough

SIZE = 256
# Rotations to look at, in degrees: half a step off, a brain's edge is 2.5 mm away, which folds at 4 mm bear.
ANGLES = tuple(range(-12, 13, 4))
_BLUR = 0.6
_SEED = 20


class Descriptors:
    """The directions, for rotations by `angles` in degrees.

    `starts`: affine maps (variants, 2, 3) from what is looked for to what it may be a copy of.
    """

    def __init__(self, angles: Sequence[int] = ANGLES) -> None:
        generator = torch.Generator().manual_seed(_SEED)
        shape = [side // 2 for side in FRAME]
        # Smooth, for a direction's rotation is then as exact as that of the folds.
        directions = blur(torch.randn(SIZE, *shape, generator=generator), _BLUR)
        turns = torch.tensor([float(angle + half_turn) for half_turn in (0, 180) for angle in angles]).repeat(2)
        # A half turn of a mirror image is the other mirror image, front to back.
        self.starts = rotation(turns, torch.arange(len(turns)) >= len(turns) // 2)
        moved = [_flat(warp(directions[:, None], start.expand(SIZE, 2, 3))[:, 0]) for start in self.starts]
        self._plain, self._moved = _flat(directions), torch.cat(moved, 1)

    def plain(self, folds: Tensor) -> Tensor:
        """Descriptors (N, SIZE) of folds (N, *FRAME) as they are, of length 1, or 0 without a brain."""
        return F.normalize(rough(folds).flatten(1) @ self._plain, dim=1)

    def moved(self, folds: Tensor) -> Tensor:
        """Descriptors (N, variants, SIZE) of folds in each mirror image and rotation, in the order of `starts`."""
        seen = rough(folds).flatten(1) @ self._moved
        return F.normalize(seen.view(len(folds), len(self.starts), SIZE), dim=2)


def _flat(directions: Tensor) -> Tensor:
    return directions.flatten(1).T.contiguous()
