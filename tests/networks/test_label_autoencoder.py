"""The label autoencoder: shapes, the posterior it gives, and what its decoder promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.networks.configs import AutoencoderConfig
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.presets import preset

TINY = preset("tiny").autoencoder
# As the paper has it: no pixels are folded into channels.
UNFOLDED = AutoencoderConfig(channels=(8, 8, 8), norm_groups=4)


def build(config: AutoencoderConfig = TINY, seed: int = 0) -> LabelAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LabelAutoencoder(config).eval()


def random_maps(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.softmax(3 * torch.randn(batch, CHANNELS, height, width, generator=generator), dim=1)


@pytest.mark.parametrize("config", [TINY, UNFOLDED])
@torch.no_grad()
def test_latents_have_a_quarter_of_the_resolution_and_decoding_restores_it(config):
    assert config.down_sampling == 4
    network = build(config)
    mean, log_variance = network.encode(random_maps(1, 192, 256))
    assert mean.shape == log_variance.shape == (1, 3, 48, 64)
    assert network.decode(mean).shape == (1, CHANNELS, 192, 256)


@torch.no_grad()
def test_decoded_maps_are_fractions_that_sum_to_one_even_from_absurd_latents():
    maps = build().decode_maps(torch.full((2, 3, 4, 6), 1e4))
    assert maps.dtype == torch.float32
    assert maps.min() >= 0
    assert torch.allclose(maps.sum(dim=1), torch.ones(2, 16, 24), atol=1e-5)


@pytest.mark.parametrize(("bias", "expected"), [(1000.0, 20.0), (-1000.0, -30.0)])
@torch.no_grad()
def test_log_variance_is_clamped(bias, expected):
    network = build()
    network.vae.quant_conv_log_sigma.conv.bias.fill_(bias)
    _, log_variance = network.encode(random_maps(1, 16, 24))
    assert log_variance.unique().tolist() == [expected]


@torch.no_grad()
def test_encode_agrees_with_the_library_on_the_deviation():
    network = build(UNFOLDED)
    mean, log_variance = network.encode(random_maps(2, 16, 24))
    library_mean, deviation = network.vae.encode(random_maps(2, 16, 24))
    assert torch.equal(mean, library_mean)
    assert torch.allclose(torch.exp(0.5 * log_variance), deviation)


@torch.no_grad()
def test_forward_draws_with_the_noise_it_is_given():
    network = build()
    maps = random_maps(2, 16, 24)
    logits, mean, log_variance = network(maps)
    assert torch.equal(logits, network.decode(mean))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    drawn, _, _ = network(maps, noise)
    assert torch.equal(drawn, network.decode(mean + torch.exp(0.5 * log_variance) * noise))
    assert not torch.allclose(drawn, logits)


def test_attention_is_at_the_bottom_or_nowhere():
    def attentions(network: nn.Module) -> int:
        return sum("Attention" in type(module).__name__ for module in network.modules())

    assert attentions(build()) == 0
    assert attentions(build(replace(TINY, bottleneck_attention=True))) > 0


def test_paper_preset_has_the_released_number_of_parameters():
    with torch.device("meta"):
        network = LabelAutoencoder(preset("paper").autoencoder)
    # 12.30 M with 9 channels in the released code; 8 here.
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(12.30e6, rel=0.005)
