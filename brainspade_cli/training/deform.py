"""Flips, mild affine and elastic deformations of PV maps and images: drawn in one place, applied in another."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from brainspade_cli.anatomy import BACKGROUND

# Control points of elastic deformations along x and y: some 40 mm apart, so that a brain's parts move, not its folds.
ELASTIC_GRID = (6, 8)


def draw_affine(
    count: int, generator: torch.Generator, *, scale: float, degrees: float, shift: float, flip: bool
) -> Tensor:
    """Parameters (count, 4) of in-plane deformations: log-scale, angle in radians, x and y shift in pixels; then flips.

    Uniform within plus or minus: `scale` (0.06 is 6 %), `degrees`, `shift` (pixels = mm). With `flip`, half of the
    draws are mirrored left to right. Returns (count, 5): the four, and 1 or -1 for the x axis.
    """
    unit = 2 * torch.rand(count, 4, generator=generator) - 1
    ranges = torch.tensor([math.log1p(scale), math.radians(degrees), shift, shift])
    coin = torch.rand(count, 1, generator=generator)
    mirror = torch.where(coin < 0.5, -1.0, 1.0) if flip else torch.ones(count, 1)
    return torch.cat([unit * ranges, mirror], dim=1)


def draw_elastic(count: int, generator: torch.Generator, *, shift: float) -> Tensor:
    """Displacements (count, 2, *ELASTIC_GRID) of control points in pixels, x then y: normal with deviation `shift`."""
    return shift * torch.randn(count, 2, *ELASTIC_GRID, generator=generator)


def warp(images: Tensor, parameters: Tensor, elastic: Tensor | None = None, mode: str = "bilinear") -> Tensor:
    """Images (B, C, X, Y) deformed by `draw_affine`'s parameters (B, 5), 0 outside; x is the first axis.

    `elastic`, displacements as of `draw_elastic`, moves each pixel's origin further, smoothly between control points.
    `mode` is the interpolation, "bilinear" or "bicubic".
    """
    height, width = images.shape[-2:]
    log_scale, angle, shift_x, shift_y, mirror = parameters.to(images).unbind(dim=1)
    cosine, sine = torch.cos(angle) * torch.exp(-log_scale), torch.sin(angle) * torch.exp(-log_scale)
    # grid_sample counts the last axis (y here) first, and measures each axis in half-widths.
    along_y = torch.stack([cosine, sine * height / width, 2 * shift_y / width], dim=1)
    along_x = torch.stack([-sine * width / height, cosine, 2 * shift_x / height], dim=1) * mirror[:, None]
    grid = F.affine_grid(torch.stack([along_y, along_x], dim=1), list(images.shape), align_corners=False)
    if elastic is not None:
        moved = F.interpolate(elastic.to(images), size=(height, width), mode="bicubic", align_corners=True)
        half = torch.tensor([width / 2, height / 2], dtype=images.dtype, device=images.device)
        grid = grid + moved.flip(1).permute(0, 2, 3, 1) / half
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def warp_maps(maps: Tensor, parameters: Tensor, elastic: Tensor | None = None) -> Tensor:
    """PV maps (B, 8, X, Y) deformed as by `warp`; what comes in from outside is background.

    The result is in 0..1 and sums to 1 over channels, as the maps did. Bicubic, for bilinear interpolation blurs the
    border between tissues by up to a pixel.
    """
    warped = warp(maps, parameters, elastic, "bicubic").clamp_(0, 1)
    warped[:, BACKGROUND] += (1 - warped.sum(dim=1)).clamp_(min=0)
    return warped / warped.sum(dim=1, keepdim=True)


def mirror(images: Tensor, flags: Tensor) -> Tensor:
    """Images (B, C, X, Y), mirrored left to right (x, the first image axis) where `flags` (B,) is True."""
    return torch.where(flags.to(images.device)[:, None, None, None], images.flip(-2), images)
