"""Spatial variational autoencoder of partial-volume maps (paper 2.2): 8 x 192 x 256 maps to a 3 x 48 x 64 latent."""

from __future__ import annotations

import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.networks.configs import DECODING_LAYERS, AutoencoderConfig

LOG_VARIANCE_RANGE = (-30.0, 20.0)


class LabelAutoencoder(nn.Module):
    """Encodes PV maps to a Gaussian over latents, and decodes latents to logits whose softmax is the PV maps.

    `config.patch` folds patch x patch pixels into channels before the network and back after it, and each level but the
    last halves what is left: together a quarter of the resolution. Attention is used at the bottom alone, and only
    where the configuration says so: it is quadratic in the 48 x 64 positions there.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.vae = AutoencoderKL(
            spatial_dims=2,
            in_channels=CHANNELS * config.patch**2,
            out_channels=CHANNELS * config.patch**2,
            num_res_blocks=config.res_blocks,
            channels=config.channels,
            attention_levels=[False] * len(config.channels),
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_groups,
            with_encoder_nonlocal_attn=config.bottleneck_attention,
            with_decoder_nonlocal_attn=config.bottleneck_attention,
        )

    def encode(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, latent channels, H/4, W/4), for maps (B, 8, H, W) in 0..1.

        The library's own `encode` returns the deviation, exp of half the log-variance; its logarithm would lose the
        gradient where that underflows, so the log-variance is taken from the convolution itself.
        """
        features = self.vae.encoder(F.pixel_unshuffle(maps, self.patch))
        log_variance = self.vae.quant_conv_log_sigma(features).clamp(*LOG_VARIANCE_RANGE)
        return self.vae.quant_conv_mu(features), log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Logits (B, 8, H, W) of the PV maps for (unstandardised) latents (B, latent channels, H/4, W/4).

        Latents are brought to the precision of the weights.
        """
        latents = latents.to(self.vae.post_quant_conv.conv.weight.dtype)
        return F.pixel_shuffle(self.vae.decode(latents), self.patch)

    def decoding_layers(self) -> nn.Module:
        """The layers that `decode` runs, as one module."""
        return nn.ModuleList([self.vae.get_submodule(name) for name in DECODING_LAYERS])

    def decode_maps(self, latents: Tensor) -> Tensor:
        """PV maps (B, 8, H, W), float32 in 0..1, that sum to 1 over channels, for latents as in `decode`."""
        return torch.softmax(self.decode(latents).float(), dim=1)

    def forward(self, maps: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mean and log-variance for maps (B, 8, H, W).

        `noise`, standard normal of the latents' shape, draws the latent; without it the mean is decoded.
        """
        mean, log_variance = self.encode(maps)
        latents = mean if noise is None else mean + torch.exp(0.5 * log_variance) * noise
        return self.decode(latents), mean, log_variance
