"""What the latents of people are like at each height: the atlas that a denoiser is shown."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from brainspade_cli.networks.label_denoiser import ATLAS_HEIGHTS, ATLAS_SHAPE
from brainspade_cli.structure_places import FEWEST_PEOPLE
from brainspade_cli.training.latents import LatentStore

ROWS_TOGETHER = 64
LEAST_WEIGHT = 1e-3


def latent_atlas(store: LatentStore, people: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Means and deviations (ATLAS_HEIGHTS, 2 C, *ATLAS_SHAPE) of standardised latents, over people and their copies.

    `people` (rows,) has a number for whose slice each row is; `mean` and `std` (C, 1, 1) standardise the latents. A
    slice counts for the two heights that it lies between, for the nearer one more. Where fewer than `FEWEST_PEOPLE`
    people have slices both are 0, for their average would show them.
    """
    shape = (ATLAS_HEIGHTS, store.mean.shape[2], *ATLAS_SHAPE)
    total, squares = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    weights = torch.zeros(ATLAS_HEIGHTS, dtype=torch.float64)
    there = torch.zeros(ATLAS_HEIGHTS, int(people.max()) + 1, dtype=torch.bool)
    for rows in torch.arange(len(store.mean)).split(ROWS_TOGETHER):
        for copy in range(store.copies):
            copies = torch.full_like(rows, copy)
            latents = F.adaptive_avg_pool2d((store.latents(rows, copies) - mean) / std, ATLAS_SHAPE).double()
            places = store.told(rows, copies)[:, 0].double().clamp(0, 1) * (ATLAS_HEIGHTS - 1)
            below = places.floor().clamp(max=ATLAS_HEIGHTS - 2).long()
            for heights, share in ((below, 1 - (places - below)), (below + 1, places - below)):
                weights.index_add_(0, heights, share)
                there[heights[share > LEAST_WEIGHT], people[rows][share > LEAST_WEIGHT]] = True
                total.index_add_(0, heights, share[:, None, None, None] * latents)
                squares.index_add_(0, heights, share[:, None, None, None] * latents.square())
    known = (there.sum(dim=1) >= FEWEST_PEOPLE)[:, None, None, None]
    each = weights.clamp(min=LEAST_WEIGHT)[:, None, None, None]
    means = torch.where(known, total / each, 0.0)
    deviations = torch.where(known, (squares / each - means.square()).clamp(min=0).sqrt(), 0.0)
    return torch.cat([means, deviations], dim=1).float()
