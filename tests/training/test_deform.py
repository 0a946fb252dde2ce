from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.training.deform import ELASTIC_GRID, draw_affine, draw_elastic, warp, warp_maps

STILL = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])


def ramp() -> torch.Tensor:
    """Channel 0 holds each pixel's x (first axis), channel 1 its y."""
    x, y = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    return torch.stack([x, y])[None]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_no_deformation_changes_nothing(mode):
    still = torch.zeros(1, 2, *ELASTIC_GRID)
    assert torch.allclose(warp(ramp(), STILL, still, mode), ramp(), atol=1e-3)


def test_displacements_are_pixels_along_x_then_y():
    moved = torch.zeros(1, 2, *ELASTIC_GRID)
    moved[:, 0], moved[:, 1] = 3.0, -2.0
    warped = warp(ramp(), STILL, moved)[0, :, 8:-8, 8:-8]
    assert torch.allclose(warped - ramp()[0, :, 8:-8, 8:-8], torch.tensor([3.0, -2.0])[:, None, None], atol=1e-3)


def test_elastic_deformations_have_the_deviation_asked_for_and_differ_by_sample():
    drawn = draw_elastic(200, torch.Generator().manual_seed(0), shift=2.5)
    assert drawn.shape == (200, 2, *ELASTIC_GRID)
    assert drawn.std().item() == pytest.approx(2.5, rel=0.05)
    assert not torch.equal(drawn[0], drawn[1])


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_deformed_maps_are_partial_volumes_again(seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.softmax(5 * torch.randn(2, CHANNELS, 24, 32, generator=generator), dim=1)
    affine = draw_affine(2, generator, scale=0.1, degrees=10.0, shift=4.0, flip=True)
    warped = warp_maps(maps, affine, draw_elastic(2, generator, shift=2.0))
    assert warped.min() >= 0
    assert torch.allclose(warped.sum(dim=1), torch.ones(2, 24, 32), atol=1e-5)
