"""Networks in the precision of the run: what is lowered, what is not, and how little of the result that changes."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from brainspade_cli.bundle import Bundle
from brainspade_cli.devices import Compute
from brainspade_cli.networks.spade_generator import SpadeGenerator
from brainspade_cli.sampling.inference import open_autoencoder, open_denoiser, open_generator
from tests.sampling.parts import ellipse_label, one_hot_maps, tiny_bundle

FP32, BF16 = (Compute(torch.device("cpu"), precision) for precision in ("fp32", "bf16"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("weights"))


@torch.inference_mode()
def test_bf16_agrees_with_fp32_to_its_own_rounding(bundle: Bundle) -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, 48, 64, generator=generator)
    maps = torch.from_numpy(one_hot_maps(ellipse_label(tumour=True)))[None] / 255
    style = torch.randn(1, bundle.config.networks.style_encoder.style_dim, generator=generator)
    results = []
    for compute in (FP32, BF16):
        timesteps, told = torch.tensor([10, 900]), torch.tensor([[0.5, 1.0, 0.1], [0.3, 0.0, 0.0]])
        results.append(
            (
                open_denoiser(bundle, "tumour", compute)(latents, timesteps, told),
                open_autoencoder(bundle, compute).decode(latents),
                open_generator(bundle, compute)(maps, style),
            )
        )
    for exact, low in zip(*results, strict=True):
        assert (exact - low.float()).abs().mean() < 0.03 * exact.abs().mean() + 1e-3


def test_doublings_are_merged_on_a_cpu_in_networks_that_are_not_to_be_trained(bundle: Bundle) -> None:
    before = torch.get_rng_state()
    for network in (open_denoiser(bundle, "tumour", BF16), open_autoencoder(bundle, BF16)):
        kinds = [type(module) for module in network.modules()]
        assert nn.ConvTranspose2d in kinds
        assert nn.Upsample not in kinds
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), before)


def test_conditions_and_the_painters_last_layer_keep_full_precision(bundle: Bundle) -> None:
    denoiser, generator = open_denoiser(bundle, "healthy", BF16), open_generator(bundle, BF16)
    assert denoiser.unet.conv_in.conv.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in denoiser.conditions.parameters()} == {torch.float32}
    assert generator.out.weight.dtype == torch.float32
    assert generator.base.conv.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in open_generator(bundle, FP32).parameters()} == {torch.float32}


@torch.inference_mode()
@pytest.mark.parametrize(("compute", "near"), [(FP32, 1e-5), (BF16, 0.02)], ids=["fp32", "bf16"])
def test_the_painter_paints_the_same_where_its_weights_are_settled(
    bundle: Bundle, compute: Compute, near: float
) -> None:
    """Spectral norms are divided out once, not at every image, and the one in 1 + gamma lies in gamma's bias."""
    plain = cast(SpadeGenerator, bundle.network("spade_generator"))
    plain.to(compute.dtype).out.float()
    settled = open_generator(bundle, compute)
    assert any(is_parametrized(module) for module in plain.modules())
    assert not any(is_parametrized(module) for module in settled.modules())
    maps = torch.from_numpy(one_hot_maps(ellipse_label(tumour=True)))[None] / 255
    style = torch.randn(1, bundle.config.networks.style_encoder.style_dim, generator=torch.Generator().manual_seed(0))
    expected = plain(maps, style)
    assert (settled(maps, style) - expected).abs().mean() < near * expected.abs().mean()
