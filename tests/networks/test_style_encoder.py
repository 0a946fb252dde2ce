"""The style encoder: any size, no dependence on the batch, statistics of the brain alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from brainspade_cli.networks.configs import StyleEncoderConfig
from brainspade_cli.networks.style_encoder import (
    HISTOGRAM_BINS,
    HISTOGRAM_RANGE,
    StyleEncoder,
    pooled_statistics,
    sample_style,
    soft_histogram,
)
from brainspade_cli.presets import preset
from brainspade_cli.slices import BACKGROUND_VALUE

TINY = preset("tiny").style_encoder
FLATTEN = replace(TINY, widths=(4, 4, 4, 8, 8, 8), pooling="flatten")


def build(config: StyleEncoderConfig) -> StyleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StyleEncoder(config).eval()


def brains(batch: int, height: int = 48, width: int = 64) -> torch.Tensor:
    """Noise of a different contrast a row, in a rectangle amid background."""
    generator = torch.Generator().manual_seed(1)
    images = torch.full((batch, 1, height, width), BACKGROUND_VALUE)
    spread = torch.arange(1, batch + 1).view(-1, 1, 1, 1) / batch
    images[:, :, 8:-8, 8:-8] = spread * torch.randn(batch, 1, height - 16, width - 16, generator=generator)
    return images


@pytest.mark.parametrize("config", [TINY, FLATTEN], ids=["statistics", "flatten"])
@pytest.mark.parametrize("size", [(192, 256), (50, 70)])
@torch.no_grad()
def test_any_size_gives_a_code(config, size):
    mean, log_variance = build(config)(brains(2, *size))
    assert mean.shape == log_variance.shape == (2, 8)
    assert mean.isfinite().all()


@pytest.mark.parametrize("config", [TINY, FLATTEN], ids=["statistics", "flatten"])
@torch.no_grad()
def test_a_code_does_not_depend_on_the_batch(config):
    network = build(config)
    together, _ = network(brains(3))
    for index in range(3):
        assert torch.allclose(network(brains(3)[index : index + 1])[0][0], together[index], atol=1e-5)


@torch.no_grad()
def test_log_variance_is_clamped():
    network = build(TINY)
    network.log_variance.bias.fill_(1000)
    assert network(brains(1))[1].unique().item() == 20


def test_statistics_are_those_of_the_foreground():
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, :2] = torch.tensor([1.0, 1.0, 3.0, 3.0])
    features[0, :, 2:] = 100.0
    image = torch.full((1, 1, 8, 8), BACKGROUND_VALUE)
    image[:, :, :4] = 0.0
    statistics = pooled_statistics(features, image)[0]
    # Means of both channels, then deviations: the background's 100 counts nowhere.
    assert statistics.tolist() == pytest.approx([2.0, 0.0, 1.0, 0.0], abs=0.05)


def test_an_image_without_foreground_pools_everything_and_has_gradients():
    features = torch.zeros(1, 2, 4, 4, requires_grad=True)
    statistics = pooled_statistics(features, torch.full((1, 1, 8, 8), BACKGROUND_VALUE))
    statistics.sum().backward()
    assert statistics[0, :2].tolist() == [0.0, 0.0]
    assert features.grad.isfinite().all()


@torch.no_grad()
def test_statistics_pooling_forgets_place_and_flatten_keeps_it():
    """A brain moved by whole strides of the network, well away from the border, is the same style."""
    small = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    placed = [torch.full((1, 1, 128, 128), BACKGROUND_VALUE) for _ in range(2)]
    placed[0][:, :, 32:64, 32:64] = small
    placed[1][:, :, 64:96, 56:88] = small
    change = {}
    for config in (TINY, FLATTEN):
        here, there = (build(config)(image)[0] for image in placed)
        change[config.pooling] = ((here - there).norm() / here.norm()).item()
    assert change["statistics"] < 1e-3
    assert change["flatten"] > 0.05


def test_sample_style_has_the_moments_asked_for():
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 2 * torch.log(torch.tensor(3.0))]])
    noise = torch.randn(20000, 2, generator=torch.Generator().manual_seed(3))
    drawn = sample_style(mean, log_variance, noise)
    assert drawn.mean(dim=0).tolist() == pytest.approx([1.0, -2.0], abs=0.1)
    assert drawn.std(dim=0).tolist() == pytest.approx([1.0, 3.0], rel=0.05)
    assert torch.equal(sample_style(mean, log_variance, torch.zeros(1, 2)), mean)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="'mean'"):
        StyleEncoder(replace(TINY, pooling="mean"))


def test_convolutions_are_bounded_by_spectral_norm():
    network = StyleEncoder(TINY)
    with torch.no_grad():
        for layer in network.layers:
            if isinstance(layer, torch.nn.Conv2d):
                layer.parametrizations.weight.original.mul_(50)
        for _ in range(20):
            network(brains(1))
        sizes = [
            torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
            for layer in network.layers
            if isinstance(layer, torch.nn.Conv2d)
        ]
    assert sizes == pytest.approx([1.0] * len(TINY.widths), rel=0.05)


def test_the_histogram_counts_brain_only_and_tells_contrasts_apart() -> None:
    image = torch.full((2, 1, 64, 64), BACKGROUND_VALUE)
    image[0, 0, 16:48, 16:48] = -1.0
    image[1, 0, 8:56, 8:56] = 2.0
    dark, bright = soft_histogram(image)
    centres = torch.linspace(*HISTOGRAM_RANGE, HISTOGRAM_BINS)
    assert centres[dark.argmax()] == pytest.approx(-1.0, abs=0.5)
    assert centres[bright.argmax()] == pytest.approx(2.0, abs=0.5)
    assert dark[-3:].max() < 0.05
    larger = torch.full((1, 1, 64, 64), BACKGROUND_VALUE)
    larger[0, 0, 4:60, 4:60] = -1.0
    assert torch.allclose(soft_histogram(larger)[0], dark, atol=1e-3)


def test_codes_differ_between_contrasts_from_the_start() -> None:
    """A style that is drowned in the background's edge cannot be learnt from."""
    encoder = build(StyleEncoderConfig())
    generator = torch.Generator().manual_seed(0)
    brain = torch.randn(1, 1, 96, 128, generator=generator)
    image = torch.full((2, 1, 192, 256), BACKGROUND_VALUE)
    image[0, :, 48:144, 64:192], image[1, :, 48:144, 64:192] = brain, -(brain.abs())
    with torch.no_grad():
        codes, log_variance = encoder(image)
    assert (codes[0] - codes[1]).abs().mean() > 0.5 * torch.exp(0.5 * log_variance).mean()
