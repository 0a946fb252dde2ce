"""What the latents of people are like at each height: the atlas that a denoiser is shown."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from brainspade_cli.networks.label_denoiser import ATLAS_HEIGHTS, ATLAS_SHAPE
from brainspade_cli.training.latents import LatentStore

ROWS_TOGETHER = 64
# Below this much of a slice at a height, nobody is known there.
LEAST_WEIGHT = 1e-3


def latent_atlas(store: LatentStore, mean: Tensor, std: Tensor) -> Tensor:
    """Means and deviations (ATLAS_HEIGHTS, 2 C, *ATLAS_SHAPE) of standardised latents, over people and their copies.

    `mean` and `std` (C, 1, 1) standardise the latents. A slice counts for the two heights that it lies between, for the
    nearer one more. Where nobody has a slice both are 0. Averages of all people, deformed and mirrored, hold nobody.
    """
    shape = (ATLAS_HEIGHTS, store.mean.shape[2], *ATLAS_SHAPE)
    total, squares = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    weights = torch.zeros(ATLAS_HEIGHTS, dtype=torch.float64)
    for rows in torch.arange(len(store.mean)).split(ROWS_TOGETHER):
        for copy in range(store.copies):
            copies = torch.full_like(rows, copy)
            latents = F.adaptive_avg_pool2d((store.latents(rows, copies) - mean) / std, ATLAS_SHAPE).double()
            places = store.told(rows, copies)[:, 0].double().clamp(0, 1) * (ATLAS_HEIGHTS - 1)
            below = places.floor().clamp(max=ATLAS_HEIGHTS - 2).long()
            for heights, share in ((below, 1 - (places - below)), (below + 1, places - below)):
                weights.index_add_(0, heights, share)
                total.index_add_(0, heights, share[:, None, None, None] * latents)
                squares.index_add_(0, heights, share[:, None, None, None] * latents.square())
    known = (weights > LEAST_WEIGHT)[:, None, None, None]
    each = weights.clamp(min=LEAST_WEIGHT)[:, None, None, None]
    means = torch.where(known, total / each, 0.0)
    deviations = torch.where(known, (squares / each - means.square()).clamp(min=0).sqrt(), 0.0)
    return torch.cat([means, deviations], dim=1).float()
