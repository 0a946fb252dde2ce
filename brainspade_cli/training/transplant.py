"""Tumours moved between brains, so that thirty patients make more than thirty pictures of a tumour in a brain."""

from __future__ import annotations

import torch
from torch import Tensor

from brainspade_cli.anatomy import BACKGROUND, LESIONS
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS
from brainspade_cli.training.batches import LabelTable

# Donor and host lie within this fraction of the grid's height of each other, 3 to 4 mm.
REACH = 0.02
HALF = 0.5


def draw_hosts(table: LabelTable, everything: LabelTable, rows: Tensor, generator: torch.Generator) -> Tensor:
    """For each of the table's `rows` (B,) a row of `everything` without a lesion at about its height; -1 where none."""
    positions = everything.conditions[:, 0]
    free = everything.conditions[:, 1] == 0
    places = torch.rand(len(rows), generator=generator)
    hosts = torch.full((len(rows),), -1, dtype=torch.long)
    for index, row in enumerate(rows.tolist()):
        near = torch.nonzero(free & ((positions - table.conditions[row, 0]).abs() <= REACH)).flatten()
        if len(near):
            hosts[index] = near[int(places[index] * len(near))]
    return hosts


def transplant(donors: Tensor, hosts: Tensor) -> tuple[Tensor, Tensor]:
    """PV maps (B, 8, X, Y) of the brains of `hosts` with the lesions of `donors`, and their lesion loads (B,).

    A lesion takes its fraction of each pixel of the host's brain, and the host's tissues share what is left: it pushes
    nothing aside, and ends where the host's brain ends. The load is the lesions' share of the brain's area; 0 where
    fewer lesion pixels than count as a lesion fell into the host's brain.
    """
    lesions = list(LESIONS)
    inside = 1 - hosts[:, BACKGROUND]
    taken = donors[:, lesions] * inside[:, None]
    maps = hosts * (1 - taken.sum(dim=1, keepdim=True))
    maps[:, lesions] += taken
    pixels = (taken.sum(dim=1) >= HALF).sum(dim=(1, 2))
    brain = (inside >= HALF).sum(dim=(1, 2)).clamp(min=1)
    return maps, torch.where(pixels >= MIN_TUMOUR_PIXELS, pixels / brain, 0.0)
