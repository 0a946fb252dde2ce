"""Patch discriminators: multi-scale on (PV maps, image) for the painter, plain on PV maps for the autoencoder."""

from __future__ import annotations

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.networks.configs import DiscriminatorConfig


class PatchScores(nn.Module):
    """One scale: 4 x 4 convolutions (stride 2, the last two stride 1), spectral and instance norm but at both ends."""

    def __init__(self, channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        width = config.base
        stages: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(channels, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2)),
        ]
        for index in range(1, config.layers):
            wider = min(2 * width, config.max_width)
            stride = 1 if index == config.layers - 1 else 2
            # No bias: the instance norm that follows would take it out again.
            conv = spectral_norm(nn.Conv2d(width, wider, 4, stride=stride, padding=2, bias=False))
            stages.append(nn.Sequential(conv, nn.InstanceNorm2d(wider), nn.LeakyReLU(0.2)))
            width = wider
        stages.append(nn.Conv2d(width, 1, 4, padding=2))
        self.stages = nn.ModuleList(stages)

    def forward(self, pair: Tensor) -> list[Tensor]:
        """Features of every stage for (B, channels, H, W); the last are the patch scores (B, 1, h, w), unbounded."""
        features: list[Tensor] = []
        for stage in self.stages:
            pair = stage(pair)
            features.append(pair)
        return features


class MultiScaleDiscriminator(nn.Module):
    """The same patch discriminator at several scales, each on an average-pooled (4 x 4, stride 2) copy of the last."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchScores(CHANNELS + 1, config) for _ in range(config.scales))

    def forward(self, maps: Tensor, image: Tensor) -> list[list[Tensor]]:
        """All features per scale, finest scale first, scores last, for maps (B, 8, H, W) and image (B, 1, H, W)."""
        pair = torch.cat([maps, image], dim=1)
        outputs: list[list[Tensor]] = []
        for index, scale in enumerate(self.scales):
            if index > 0:
                pair = F.avg_pool2d(pair, 4, stride=2, padding=1, count_include_pad=False)
            outputs.append(scale(pair))
        return outputs


class LabelPatchDiscriminator(nn.Module):
    """Judges PV maps patch by patch, for the least-squares adversarial loss of the autoencoder (paper 2.2).

    Instance norm in place of the released batch norm: maps come one batch real and one batch reconstructed, whose
    statistics give them away whatever they show.
    """

    def __init__(self, base: int, layers: int) -> None:
        super().__init__()
        self.net = PatchDiscriminator(
            spatial_dims=2, in_channels=CHANNELS, channels=base, num_layers_d=layers, norm="INSTANCE"
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Patch scores (B, 1, h, w), unbounded, for maps (B, 8, H, W)."""
        scores: Tensor = self.net(maps)[-1]
        return scores
