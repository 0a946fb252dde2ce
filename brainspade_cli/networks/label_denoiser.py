"""Time-conditioned U-Net that denoises label latents (paper 2.2), told of position and lesion load."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.networks.blocks.selfattention import SABlock
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional as F

from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.networks.configs import DenoiserConfig

# Slice position 0..1 on the grid, lesion present 0/1, lesion load 0..1 (fraction of the brain's area).
CONDITIONS = 3
OCTAVES = 6
# An atlas has this many heights, from the grid's lowest slice to its highest, of maps of 8 mm pixels.
ATLAS_HEIGHTS = 48
ATLAS_SHAPE = (SLICE_SHAPE[0] // 8, SLICE_SHAPE[1] // 8)


class ConditionEmbedding(nn.Module):
    """Conditions (B, 3) to vectors (B, width) that are added to the time embedding.

    Position and load pass through sines and cosines of octave-spaced frequencies, for a multi-layer perceptron resolves
    fine differences of a plain number badly. The last layer starts at zero, and so does the learned null vector that
    stands for "not told" (classifier-free guidance): training starts from the unconditional network.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        # Of no file, so they have values even where all else is built on the meta device.
        octaves = torch.arange(OCTAVES, device="cpu")
        self.register_buffer("frequencies", math.pi * 2.0**octaves, persistent=False)
        self.hidden = nn.Linear(CONDITIONS + 4 * OCTAVES, width)
        self.out = nn.Linear(width, width)
        self.null = nn.Parameter(torch.zeros(width))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, conditions: Tensor, keep: Tensor | None) -> Tensor:
        """Embedding (B, width) of conditions (B, 3); rows where `keep` (B, bool) is False get the null vector."""
        angles = conditions[:, [0, 2], None] * self.frequencies
        features = torch.cat([conditions, angles.sin().flatten(1), angles.cos().flatten(1)], dim=1)
        embedding: Tensor = self.out(F.silu(self.hidden(features)))
        if keep is None:
            return embedding
        return torch.where(keep[:, None], embedding, self.null.to(embedding.dtype))


class LabelDenoiser(nn.Module):
    """Predicts the noise in standardised latents, or their velocity: what its training asked for.

    `config.patch` folds patch x patch latent pixels into channels before the U-Net and back after it: a latent pixel
    stands for 4 x 4 pixels of smooth maps, so the finest level of the U-Net costs much and adds little.

    With `config.atlas` the U-Net sees beside the latents what those of people are like at this height: `atlas`
    (ATLAS_HEIGHTS, 2 C, *ATLAS_SHAPE), their means and then their deviations. Training fills it.
    """

    atlas: Tensor

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.has_atlas = config.atlas
        folded = config.latent_channels * config.patch**2
        shown = 2 * config.latent_channels if config.atlas else 0
        if config.atlas:
            self.register_buffer("atlas", torch.zeros(ATLAS_HEIGHTS, shown, *ATLAS_SHAPE))
        self.unet = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=folded + shown,
            out_channels=folded,
            num_res_blocks=config.res_blocks,
            channels=config.channels,
            attention_levels=config.attention,
            norm_num_groups=config.norm_groups,
            num_head_channels=config.head_channels,
            num_class_embeds=1,
        )
        for block in self.unet.modules():
            if isinstance(block, SABlock):
                block.register_forward_pre_hook(_before_attention)
        # The U-Net adds class_embedding(class_labels) to its time embedding and does nothing else with either, so that
        # with the identity in that place it takes our embedding of continuous conditions as it is.
        self.unet.class_embedding = nn.Identity()
        self.conditions = ConditionEmbedding(4 * config.channels[0])

    def forward(self, latents: Tensor, timesteps: Tensor, conditions: Tensor, keep: Tensor | None = None) -> Tensor:
        """Prediction (B, C, h, w) for standardised, noisy latents (B, C, h, w).

        `timesteps` (B,) integers from 0; `conditions` (B, CONDITIONS); `keep` (B,) bool, False for the learned null
        condition, None for "all kept". h and w must be divisible by patch * 2 ** (levels - 1). The U-Net may be of a
        lower precision than the rest.
        """
        precision = self.unet.conv_in.conv.weight.dtype
        embedding = self.conditions(conditions, keep).to(precision)
        folded = F.pixel_unshuffle(latents, self.patch)
        if self.has_atlas:
            folded = torch.cat([folded, self._atlas_at(conditions[:, 0], keep, folded)], dim=1)
        folded = folded.to(precision)
        predicted = self.unet(folded, timesteps=timesteps, class_labels=embedding)
        return F.pixel_shuffle(predicted, self.patch)

    def _atlas_at(self, heights: Tensor, keep: Tensor | None, folded: Tensor) -> Tensor:
        """The atlas (B, 2 C, h, w) at heights (B,) in 0..1, of the size of `folded`; zeros where `keep` is False."""
        places = heights.clamp(0, 1) * (ATLAS_HEIGHTS - 1)
        below = places.floor().clamp(max=ATLAS_HEIGHTS - 2).long()
        above = (places - below)[:, None, None, None]
        shown = torch.lerp(self.atlas[below], self.atlas[below + 1], above)
        if shown.shape[2:] != folded.shape[2:]:
            shown = F.interpolate(shown, size=folded.shape[2:], mode="bilinear", align_corners=False)
        return shown if keep is None else torch.where(keep[:, None, None, None], shown, 0.0)


def _before_attention(block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Choose the faster way and lay tokens (B, N, C) out for it.

    MONAI hands over a transposed view, for which torch's linear layers take the slow way of one small product an image:
    that and the plain attention took a fifth of the U-Net's time on a CPU. Where gradients are wanted, the plain one is
    faster there, by a fifth of a training step.
    """
    assert isinstance(block, SABlock)
    tokens: Tensor = inputs[0]
    block.use_flash_attention = not (tokens.requires_grad and tokens.device.type == "cpu")
    return (tokens.contiguous(), *inputs[1:])
