"""The discriminators: what they return, where their norms are, and what each scale sees."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.networks.configs import DiscriminatorConfig
from brainspade_cli.networks.discriminators import LabelPatchDiscriminator, MultiScaleDiscriminator

CONFIG = DiscriminatorConfig(scales=2, layers=4, base=4, max_width=16)


def build(config: DiscriminatorConfig = CONFIG) -> MultiScaleDiscriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MultiScaleDiscriminator(config).eval()


def pair(batch: int = 2, height: int = 64, width: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    maps = torch.softmax(torch.randn(batch, CHANNELS, height, width, generator=generator), dim=1)
    return maps, torch.randn(batch, 1, height, width, generator=generator)


@torch.no_grad()
def test_features_of_all_stages_at_halving_scales_with_scores_last():
    outputs = build()(*pair())
    assert [[feature.shape[1] for feature in scale] for scale in outputs] == [[4, 8, 16, 16, 1]] * 2
    fine, coarse = outputs
    for one, half in zip(fine, coarse, strict=True):
        assert half.shape[-1] == pytest.approx(one.shape[-1] / 2, abs=2)


def test_norms_are_spectral_and_instance_but_at_both_ends():
    for scale in build().scales:
        convolutions = [module for module in scale.modules() if isinstance(module, nn.Conv2d)]
        assert [parametrize.is_parametrized(conv) for conv in convolutions] == [False, True, True, True, False]
        assert sum(isinstance(module, nn.InstanceNorm2d) for module in scale.modules()) == 3
        assert [conv.stride for conv in convolutions] == [(2, 2)] * 3 + [(1, 1)] * 2


@torch.no_grad()
def test_scores_depend_on_maps_and_on_image():
    network = build()
    maps, image = pair()
    scores = network(maps, image)[0][-1]
    assert (network(maps.flip(1), image)[0][-1] - scores).abs().max() > 1e-4
    assert (network(maps, -image)[0][-1] - scores).abs().max() > 1e-4


@torch.no_grad()
def test_coarse_scale_sees_averages():
    """A fine checkerboard that averages to nothing is visible at the full scale alone."""
    network = build()
    maps, image = pair()
    board = torch.ones_like(image)
    board[..., ::2] *= -1
    board[..., ::2, :] *= -1
    plain, noisy = network(maps, image), network(maps, image + board)
    inner = (..., slice(4, -4), slice(4, -4))
    changes = [(a[0][inner] - b[0][inner]).abs().max().item() for a, b in zip(plain, noisy, strict=True)]
    assert changes[0] > 0.05
    assert changes[1] < 1e-5


@torch.no_grad()
def test_real_and_fake_may_share_a_batch():
    network = build()
    maps, image = pair()
    together = network(maps.repeat(2, 1, 1, 1), torch.cat([image, -image]))
    apart = network(maps, -image)
    for whole, part in zip(together, apart, strict=True):
        assert torch.allclose(whole[-1][2:], part[-1], atol=1e-5)


@torch.no_grad()
def test_label_discriminator_scores_patches_of_each_sample_by_itself():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LabelPatchDiscriminator(base=4, layers=2)
    maps, _ = pair(batch=3)
    scores = network(maps)
    assert scores.shape[:2] == (3, 1)
    assert scores.shape[2] > 8
    assert torch.allclose(network(maps[1:2])[0], scores[1], atol=1e-5)
    assert scores.std() > 0
