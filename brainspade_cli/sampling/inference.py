"""Networks made ready for use: on their device, in its memory layout, and in the precision of the run."""

from __future__ import annotations

from typing import cast

from torch import nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from brainspade_cli.bundle import Bundle
from brainspade_cli.devices import Compute
from brainspade_cli.networks.doubling import merge_doublings
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.networks.layout import channels_last
from brainspade_cli.networks.spade_generator import OneChannelConv, SpadeGenerator, SpadeNorm


def open_denoiser(bundle: Bundle, population: str, compute: Compute) -> LabelDenoiser:
    """The denoiser of a population; in bf16 its U-Net alone, for bfloat16 cannot tell the conditions' fine steps apart.

    On a CPU it keeps the usual layout: at a few hundred positions a channel, channels last is half as slow again.
    """
    denoiser = cast(LabelDenoiser, bundle.network(f"denoiser_{population}", compute.device))
    if compute.is_cpu:
        merge_doublings(denoiser.unet)
    denoiser.unet.to(compute.dtype)
    return denoiser if compute.is_cpu else channels_last(denoiser)


def open_autoencoder(bundle: Bundle, compute: Compute) -> LabelAutoencoder:
    """The label autoencoder, channels last: its decoder is twice as fast so."""
    autoencoder = cast(LabelAutoencoder, bundle.network("label_autoencoder", compute.device))
    if compute.is_cpu:
        merge_doublings(autoencoder)
    return channels_last(autoencoder.to(compute.dtype))


def open_generator(bundle: Bundle, compute: Compute) -> SpadeGenerator:
    """The image generator, channels last; in bf16 all but its last layer, whose steps would show in the image."""
    generator = _settled(cast(SpadeGenerator, bundle.network("spade_generator", compute.device)))
    generator.to(compute.dtype).out.float()
    if compute.is_cpu:
        assert isinstance(generator.out, nn.Conv2d)
        generator.out = OneChannelConv(generator.out)
    return channels_last(generator)


def _settled(generator: SpadeGenerator) -> SpadeGenerator:
    """Work out once what training works out at every pass: spectral norms, and the one in 1 + gamma.

    While its weights are float32: in a lower precision the norms themselves would come out rougher.
    """
    for module in generator.modules():
        if isinstance(module, SpadeNorm):
            module.settle()
        if is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                remove_parametrizations(module, name)
    return generator
