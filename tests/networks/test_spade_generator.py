"""The painter: label detail down to the pixel, style at every level, and the ability to learn both."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.networks.configs import GeneratorConfig, StyleEncoderConfig
from brainspade_cli.networks.spade_generator import ImageNorm, OneChannelConv, SpadeGenerator
from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.presets import preset

TINY = preset("tiny").generator


def build(config: GeneratorConfig = TINY, seed: int = 0) -> SpadeGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SpadeGenerator(config).eval()


def random_maps(batch: int, height: int = 32, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(batch, CHANNELS, height // 8, width // 8, generator=generator)
    return torch.softmax(8 * F.interpolate(coarse, size=(height, width), mode="bilinear"), dim=1)


def random_style(batch: int, seed: int = 2) -> Tensor:
    return torch.randn(batch, TINY.style_dim, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_image_has_the_resolution_of_the_maps():
    assert build()(random_maps(2, 192, 256), random_style(2)).shape == (2, 1, 192, 256)


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_a_convolution_to_one_channel_may_be_done_by_sums(batch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv, features = nn.Conv2d(5, 1, 3, padding=1), torch.randn(batch, 5, 9, 14)
    for laid_out in (features, features.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(OneChannelConv(conv)(laid_out), conv(features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("row", "column"), [(13, 21), (12, 20), (13, 20)])
@torch.no_grad()
def test_one_label_pixel_changes_the_image_there(row, column):
    """Maps that are used at half resolution alone fail this at odd coordinates."""
    network = build()
    maps = random_maps(1)
    edited = maps.clone()
    edited[:, :, row, column] = maps[:, :, row, column].roll(1, dims=1)
    difference = (network(edited, random_style(1)) - network(maps, random_style(1))).abs()[0, 0]
    around = difference[row - 1 : row + 2, column - 1 : column + 2]
    assert around.max() > 1e-3
    assert difference[row, column] > 0


@torch.no_grad()
def test_coarse_pixels_leave_no_edges_where_a_tissue_is_wide():
    """Nearest-neighbour up-sampling steps a third more from one coarse pixel to the next than within one."""
    maps = torch.zeros(1, CHANNELS, 192, 256)
    maps[:, 2, :96] = maps[:, 1, 96:, :64] = maps[:, 3, 96:, 64:] = 1
    steps = []
    for seed in range(6):
        network = build(replace(TINY, widths=(16, 16, 16, 16, 8), hidden=(8,) * 5), seed)
        wide = network(maps, random_style(1, seed))[0, 0, 120:186, 80:250]
        across = wide.diff(dim=1).abs().mean(dim=0)
        edge = torch.arange(81, 250) % 16 == 0
        steps.append(float(across[edge].mean() / across[~edge].mean()))
    assert sum(steps) / len(steps) < 1.15


@torch.no_grad()
def test_image_is_not_made_of_blocks():
    image = build()(random_maps(1), random_style(1))
    pairs = image[..., ::2] - image[..., 1::2]
    assert (pairs.abs() > 1e-6).float().mean() > 0.9


@pytest.mark.parametrize("level", range(len(TINY.widths)))
@torch.no_grad()
def test_style_acts_at_every_level(level):
    """With the style cut off everywhere but in one block, it still changes what is painted."""
    network = build()
    maps = random_maps(1)
    branches = [network.base, *(block.labels for block in network.blocks)]
    for branch in branches:
        if branch is not network.blocks[level].labels:
            branch.film.weight.zero_()
    first, second = network(maps, random_style(1, seed=2)), network(maps, random_style(1, seed=3))
    assert (first - second).abs().mean() > 1e-3
    network.blocks[level].labels.film.weight.zero_()
    assert torch.equal(network(maps, random_style(1, seed=2)), network(maps, random_style(1, seed=3)))


@torch.no_grad()
def test_coarse_levels_see_the_average_of_the_maps():
    network = build()
    seen = []
    for block in network.blocks:
        block.labels.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    maps = random_maps(1)
    network(maps, random_style(1))
    assert [tuple(level.shape[-2:]) for level in seen] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    for level in seen:
        assert torch.allclose(level.sum(dim=1), torch.ones_like(level[:, 0]), atol=1e-5)
        assert torch.allclose(level.mean(dim=(2, 3)), maps.mean(dim=(2, 3)), atol=1e-5)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch():
    network = build()
    together = network(random_maps(3), random_style(3))
    for index in range(3):
        alone = network(random_maps(3)[index : index + 1], random_style(3)[index : index + 1])
        assert torch.allclose(alone[0], together[index], atol=1e-4)


@torch.no_grad()
def test_output_is_linear():
    """z-scores run from -4 to beyond +4: nothing may bound the image."""
    network = build()
    network.out.bias.fill_(-100.0)
    low = network(random_maps(1), random_style(1))
    network.out.bias.fill_(100.0)
    assert torch.allclose(network(random_maps(1), random_style(1)) - low, torch.tensor(200.0), atol=1e-3)


def test_batch_norm_is_the_other_choice_and_there_is_no_third():
    network = build(replace(TINY, norm="batch")).train()
    network(random_maps(2), random_style(2)).mean().backward()
    assert any(name.endswith("running_mean") for name, _ in network.named_buffers())
    with pytest.raises(ValueError, match="'layer'"):
        SpadeGenerator(replace(TINY, norm="layer"))


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        build()(random_maps(1, 32, 48)[:, :, :28], random_style(1))
    with pytest.raises(ValueError, match="differ in length"):
        SpadeGenerator(replace(TINY, hidden=(4, 4)))


def test_every_parameter_learns():
    network = build().train()
    network(random_maps(2), random_style(2)).square().mean().backward()
    # The first norm sees a base without variation across space where maps are flat, so only gross zeros are looked for.
    still = [name for name, parameter in network.named_parameters() if not parameter.grad.abs().max() > 0]
    assert still == []


def ring_brains(batch: int, generator: torch.Generator, height: int = 32, width: int = 48) -> Tensor:
    """PV maps of nested rings of five tissues, of varying size, place and outline."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    shift = 0.06 * torch.randn(2, batch, 1, 1, generator=generator)
    size = 0.8 + 0.15 * torch.rand(batch, 1, 1, generator=generator)
    ripple = F.interpolate(torch.randn(batch, 1, 4, 6, generator=generator), size=(height, width), mode="bicubic")[:, 0]
    radius = ((y - shift[0]).square() + (x - shift[1]).square()).sqrt() / size + 0.05 * ripple
    maps = torch.zeros(batch, CHANNELS, height, width)
    maps[:, 0] = 1
    for channel, limit in ((1, 1.0), (2, 0.88), (3, 0.65), (4, 0.4), (5, 0.2)):
        inside = ((limit - radius) * 20 + 0.5).clamp(0, 1)
        maps *= 1 - inside[:, None]
        maps[:, channel] += inside
    return maps


def paint(maps: Tensor, contrasts: Tensor) -> Tensor:
    """Images of tissue means by partial volume, z-scored over the brain, background -4."""
    images = (maps * contrasts[:, :, None, None]).sum(dim=1, keepdim=True)
    rows = []
    for image, brain in zip(images, maps[:, :1] < 0.5, strict=True):
        inside = image[brain]
        rows.append(torch.where(brain, (image - inside.mean()) / inside.std(), torch.tensor(-4.0)))
    return torch.stack(rows)


def brain_error(image: Tensor, target: Tensor, maps: Tensor) -> float:
    return (image - target).abs()[maps[:, :1] < 0.5].mean().item()


@pytest.mark.slow
def test_encoder_and_painter_learn_to_carry_a_contrast_to_other_anatomy():
    """The whole idea in small: the style comes from one brain, the labels from another; wrong styles must be worse."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = StyleEncoder(StyleEncoderConfig(widths=(16, 32, 48), style_dim=16))
        painter = SpadeGenerator(GeneratorConfig(widths=(32, 32, 16), hidden=(16, 16, 16), style_dim=16))
    optimiser = torch.optim.Adam([*encoder.parameters(), *painter.parameters()], lr=2e-3, betas=(0.5, 0.99))
    generator = torch.Generator().manual_seed(4)

    def batch(size: int) -> tuple[Tensor, Tensor, Tensor]:
        contrasts = torch.randn(size, CHANNELS, generator=generator)
        style_maps, maps = ring_brains(size, generator), ring_brains(size, generator)
        return paint(style_maps, contrasts), maps, paint(maps, contrasts)

    for _ in range(400):
        style_image, maps, target = batch(8)
        loss = F.l1_loss(painter(maps, encoder(style_image)[0]), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        style_image, maps, target = batch(32)
        code = encoder(style_image)[0]
        right = brain_error(painter(maps, code), target, maps)
        wrong = brain_error(painter(maps, code.roll(1, dims=0)), target, maps)
    assert right < 0.65
    assert wrong > 1.5 * right


def test_painter_learns_the_contrast_that_a_code_names():
    """Two codes, two contrasts: in seconds the painter must paint the rings of each, and sharply."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        painter = SpadeGenerator(GeneratorConfig(widths=(16, 16), hidden=(8, 8), style_dim=4))
    optimiser = torch.optim.Adam(painter.parameters(), lr=5e-3, betas=(0.5, 0.99))
    generator = torch.Generator().manual_seed(5)
    contrasts = torch.tensor([[0.0, -2.0, 0.0, 1.2, 0.5, 0.8, 0.0, 0.0], [0.0, 2.0, 0.7, -1.0, 0.5, 0.2, 0.0, 0.0]])
    codes = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
    for _ in range(40):
        maps = ring_brains(4, generator)
        loss = F.l1_loss(painter(maps, codes.repeat(2, 1)), paint(maps, contrasts.repeat(2, 1)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        maps = ring_brains(8, generator)
        target = paint(maps, contrasts.repeat(4, 1))
        right = brain_error(painter(maps, codes.repeat(4, 1)), target, maps)
        wrong = brain_error(painter(maps, -codes.repeat(4, 1)), target, maps)
    assert right < 0.4
    assert wrong > 2 * right


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_image_alone_is_normalised_as_among_others_and_keeps_its_layout(layout: torch.memory_format) -> None:
    features = torch.randn(3, 5, 16, 12, generator=torch.Generator().manual_seed(0)) * 4 + 2
    norm, exact = ImageNorm(), F.instance_norm(features)
    assert torch.allclose(norm(features), exact, atol=1e-6)
    assert torch.allclose(norm(features[1:2]), exact[1:2], atol=1e-6)
    alone = norm(features[1:2].to(torch.bfloat16).contiguous(memory_format=layout))
    assert alone.is_contiguous(memory_format=layout)
    # Two roundings to eight bits, of numbers up to 4.
    assert torch.allclose(alone.float(), exact[1:2], atol=2 * 4 / 2**8)
