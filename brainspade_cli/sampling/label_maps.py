"""From the decoder's logits to PV maps of bytes and labels: whole batches at once, on the device that made them."""

from __future__ import annotations

import torch
from torch import Tensor

from brainspade_cli.anatomy import LESIONS

# Maps (B, 8, X, Y) of bytes that sum to 255, and labels (B, X, Y), their argmax; uint8 both.
Labelled = tuple[Tensor, Tensor]


def to_maps(logits: Tensor) -> Labelled:
    """PV maps and labels for logits (B, 8, X, Y).

    Every fraction is rounded, and the largest takes what is then missing from 255 or too much. The label is that of the
    bytes, so that label and maps agree.
    """
    fractions = torch.softmax(logits.float(), dim=1)
    steps = (255 * fractions).round_()
    steps.scatter_add_(1, largest(fractions)[:, None].long(), 255 - steps.sum(dim=1, keepdim=True))
    maps = steps.to(torch.uint8)
    return maps, largest(maps)


def largest(channels: Tensor) -> Tensor:
    """Which channel of (B, C, X, Y) is the largest, the first of equals, uint8 (B, X, Y).

    torch's own argmax takes ten times as long on a CPU, where it goes from pixel to pixel.
    """
    best, found = channels[:, 0], torch.zeros_like(channels[:, 0], dtype=torch.uint8)
    for channel in range(1, channels.shape[1]):
        found.masked_fill_(channels[:, channel] > best, channel)
        best = torch.maximum(best, channels[:, channel])
    return found


def without_lesions(logits: Tensor) -> Tensor:
    """Logits (B, 8, X, Y) in which the next likely tissue takes a lesion's place."""
    healthy = logits.clone()
    healthy[:, list(LESIONS)] = -torch.inf
    return healthy
