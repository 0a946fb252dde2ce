"""Laying one slice over another: the small rotation, shift and stretch under which their folds agree best.

Gauss-Newton steps on the squared difference of the folds, pairs side by side in one batch: first at 4 mm, which finds
its way from the start that the search gives, then at 2 mm. An affine map sends each pixel of the slice that stays to a
place in the other one; both are counted from the middle of the frame.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from brainspade_cli.auditing.canonical import rough, unit

ROUGH_STEPS = 4
FINE_STEPS = 3
_DAMPING = 1e-3
# A step goes no further than this many pixels, and its rotation and stretch move a pixel so far off by no more.
_LONGEST = 2.0
_ARM = 20.0
# What a step takes for the agreement at least: with less, it would shrink the slice instead of moving it.
_LEAST_SCORE = 0.2


def rotation(angles: Tensor, mirrored: Tensor) -> Tensor:
    """Affine maps (N, 2, 3): rotations by angles (N,) in degrees, some of them (N,) after a left-right mirror image."""
    turn = angles * (math.pi / 180)
    cos, sin = turn.cos(), turn.sin()
    side = torch.where(mirrored, -1.0, 1.0)
    zero = torch.zeros_like(cos)
    return torch.stack([torch.stack([cos * side, -sin, zero], 1), torch.stack([sin * side, cos, zero], 1)], 1)


def align_rough(fixed: Tensor, moving: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation (N,) of pairs of folds (N, *FRAME) laid over each other at 4 mm, and the maps (N, 2, 3) at 2 mm."""
    halved = start / start.new_tensor([1, 1, 2])
    score, maps = _align(rough(fixed), rough(moving), halved, ROUGH_STEPS)
    return score, maps * maps.new_tensor([1, 1, 2])


def align_fine(fixed: Tensor, moving: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation (N,), -1..1, of pairs of folds (N, *FRAME) laid over each other at 2 mm, and the maps (N, 2, 3)."""
    # Folds that were stored or moved have lost strength, which is no disagreement.
    return _align(unit(fixed), moving, start, FINE_STEPS)


def warp(stack: Tensor, maps: Tensor) -> Tensor:
    """Channels (N, C, X, Y) read at the places to which the maps (N, 2, 3) send each pixel; 0 outside."""
    # torch counts the last axis first, and from -1 to 1.
    half = maps.new_tensor([(side - 1) / 2 for side in reversed(stack.shape[2:])])
    flipped = maps.flip(1)
    linear = flipped[:, :, :2].flip(2) * half[None, None, :] / half[None, :, None]
    shift = flipped[:, :, 2:] / half[None, :, None]
    shape = [len(stack), 1, *stack.shape[2:]]
    grid = F.affine_grid(torch.cat([linear, shift], 2), shape, align_corners=True)
    return F.grid_sample(stack, grid, align_corners=True)


def _align(fixed: Tensor, moving: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The best correlation (N,) on the way, and its maps; what is fixed has mean square 1, or is all 0."""
    basis = _basis(fixed)
    scale = fixed.new_tensor([_ARM, _ARM, 1.0])
    stack = torch.stack([moving, *torch.gradient(moving, dim=(1, 2))], 1)
    maps, best_maps = start, start
    best = torch.full((len(fixed),), -1.0)
    for step in range(steps + 1):
        laid = warp(stack, maps)
        value, slopes = laid[:, 0], laid[:, 1:]
        strength = value.square().mean((1, 2)).sqrt().clamp_min(1e-6)
        score = (fixed * value).mean((1, 2)) / strength
        better = score > best
        best = torch.where(better, score, best)
        best_maps = torch.where(better[:, None, None], maps, best_maps)
        if step < steps:
            wanted = fixed * (score.clamp_min(_LEAST_SCORE) * strength)[:, None, None]
            maps = maps + _change(slopes, basis, wanted - value) / scale
    return best, best_maps


def _change(slopes: Tensor, basis: Tensor, residual: Tensor) -> Tensor:
    """The change of the maps (N, 2, 3) that takes most of the residual (N, X, Y) away, in pixels at `_ARM`."""
    jacobian = (slopes[:, :, None] * basis).flatten(3).flatten(1, 2)
    normal = jacobian @ jacobian.transpose(1, 2)
    size = normal.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)
    damped = normal + (_DAMPING * size)[:, None, None] * torch.eye(6)
    change = torch.linalg.solve(damped, jacobian @ residual.flatten(1)[..., None])
    return change.view(-1, 2, 3).clamp(-_LONGEST, _LONGEST)


def _basis(folds: Tensor) -> Tensor:
    """Along which a pixel moves when an entry of the map changes: (3, X, Y), x and y from the middle and ones."""
    axes = [torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in folds.shape[1:]]
    x, y = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x / _ARM, y / _ARM, torch.ones_like(x)])
