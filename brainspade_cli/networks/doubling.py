"""Nearest up-sampling and the convolution after it as one step, with four products an output in place of nine."""

from __future__ import annotations

from typing import cast

import torch
from monai.networks.blocks.upsample import UpSample
from torch import nn
from torch.nn import functional as F


def merge_doublings(network: nn.Module) -> None:
    """Make one step, in place, of each of MONAI's doublings and its 3 x 3 convolution; not for training.

    While the weights are float32: in a lower precision, their sums would come out rougher. A CPU then takes a twentieth
    less time for the denoiser and a sixth less for the decoder; nothing is known of other devices.
    """
    for block in network.modules():
        if isinstance(block, UpSample):
            doubling, after = (block.get_submodule(name) for name in ("upsample_non_trainable", "postconv"))
            assert isinstance(doubling, nn.Upsample)
            assert (doubling.mode, doubling.scale_factor) == ("nearest", (2.0, 2.0))
            block.upsample_non_trainable = nn.Identity()
            block.postconv = doubling_convolution(cast(nn.Conv2d, after.get_submodule("conv")))
            block.train(block.training)  # what is new as well


@torch.no_grad()
def doubling_convolution(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """What a 3 x 3 convolution does to features (B, C, h, w) that were doubled to their nearest neighbours.

    Of nine doubled pixels under its kernel some are copies of one pixel, so that their weights can be added up first: a
    transposed convolution of 4 x 4 weights, whose every output has four terms. Borders of zeros come out the same.
    """
    assert (conv.kernel_size, conv.padding, conv.stride) == ((3, 3), (1, 1), (1, 1))
    # Without memory, or random weights would be drawn for it first.
    merged = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, stride=2, padding=1, device="meta")
    # Each weight reaches the two by two copies of a pixel; a transposed convolution's kernel lies the other way round.
    weights = conv.weight.flip(2, 3).flatten(0, 1)[:, None]
    spread = F.conv2d(weights, weights.new_ones(1, 1, 2, 2), padding=1)
    kernel = spread.view(*conv.weight.shape[:2], 4, 4).transpose(0, 1).contiguous()
    merged.weight = nn.Parameter(kernel, requires_grad=False)
    merged.bias = conv.bias
    return merged
