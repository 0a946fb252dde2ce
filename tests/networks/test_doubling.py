"""Doubling and convolution in one step: the same features, borders included, in the library's own networks."""

from __future__ import annotations

import pytest
import torch
from monai.networks.blocks.upsample import UpSample
from torch import nn
from torch.nn import functional as F

from brainspade_cli.networks.doubling import doubling_convolution, merge_doublings
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.label_denoiser import CONDITIONS, LabelDenoiser
from brainspade_cli.presets import preset


@pytest.mark.parametrize("shape", [(1, 5, 9, 14), (3, 5, 1, 2)])
@torch.no_grad()
def test_a_doubled_image_is_convolved_the_same(shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv, features = nn.Conv2d(5, 7, 3, padding=1), torch.randn(shape)
    expected = conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(doubling_convolution(conv)(features), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_networks_compute_the_same_with_merged_doublings():
    networks = preset("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder, denoiser = LabelAutoencoder(networks.autoencoder), LabelDenoiser(networks.denoiser)
        latents, conditions = torch.randn(2, 3, 48, 64), torch.rand(2, CONDITIONS)
        # A denoiser's last layer starts at zero.
        nn.init.normal_(denoiser.unet.out[-1].conv.weight)
    timesteps = torch.tensor([10, 900])
    for network, inputs, layers in (
        (autoencoder.decode, (latents,), autoencoder),
        (denoiser, (latents, timesteps, conditions), denoiser),
    ):
        doublings = [block for block in layers.modules() if isinstance(block, UpSample)]
        assert doublings
        expected = network(*inputs)
        assert expected.std() > 0
        merge_doublings(layers)
        assert all(isinstance(block.postconv, nn.ConvTranspose2d) for block in doublings)
        torch.testing.assert_close(network(*inputs), expected, rtol=1e-3, atol=1e-4)
