"""The slice of a pool that agrees best with another slice: a search of all descriptors, then a look at the best few."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from brainspade_cli.auditing.alignment import align_fine, align_rough
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.pool import Pool

# Slices of the pool that are looked at in detail for each slice.
CANDIDATES = 4
# Descriptors of the pool compared at a time, which bounds the memory of a search.
_PIECE = 4096
NO_MATCH = -1.0


@dataclass(frozen=True)
class Matches:
    """For each slice asked about: the best agreement `score` (N,), -1..1, whose `row` in the pool (N,), and `maps`.

    maps: (N, 2, 3), from pixels of the slice to those of the pool's, at 2 mm from the middles of the brains. A slice
    with nobody to compare with has the score `NO_MATCH`.
    """

    score: Tensor
    row: Tensor
    maps: Tensor

    @staticmethod
    def joined(parts: Iterable[Matches]) -> Matches:
        """Several of them, one after the other."""
        held = list(parts)
        return Matches(
            torch.cat([part.score for part in held]),
            torch.cat([part.row for part in held]),
            torch.cat([part.maps for part in held]),
        )


def match(folds: Tensor, pool: Pool, descriptors: Descriptors, without: Tensor | None = None) -> Matches:
    """Best matches of folds (N, *FRAME) in a pool.

    without: (N,) number of a person whose slices do not count, for each slice: that is how people of the pool itself
    are held against everybody else.
    """
    similarity, rows, variants = search(descriptors.moved(folds), pool, without)
    score = torch.full((len(folds),), NO_MATCH)
    row = torch.zeros(len(folds), dtype=torch.long)
    maps = descriptors.starts[variants[:, 0]].clone()
    for place in range(rows.shape[1]):
        start = descriptors.starts[variants[:, place]]
        found, laid = align_rough(folds, pool.folds(rows[:, place]), start)
        better = (found > score) & (similarity[:, place] > NO_MATCH)
        score = torch.where(better, found, score)
        row = torch.where(better, rows[:, place], row)
        maps = torch.where(better[:, None, None], laid, maps)
    fine, laid = align_fine(folds, pool.folds(row), maps)
    return Matches(torch.where(score > NO_MATCH, fine, NO_MATCH), row, laid)


def search(queries: Tensor, pool: Pool, without: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines, rows and variants, each (N, k), of the best slices for descriptors (N, variants, SIZE), best first.

    Exact: every descriptor of the pool is compared. Who does not count has `NO_MATCH`.
    """
    flat = queries.flatten(0, 1)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(pool), _PIECE):
        piece = pool.descriptors[start : start + _PIECE]
        cosines, variants = (flat @ piece.T).view(*queries.shape[:2], len(piece)).max(1)
        if without is not None:
            own = without[:, None] == pool.people[None, start : start + _PIECE]
            cosines = cosines.masked_fill(own, NO_MATCH)
        best = cosines.topk(min(CANDIDATES, len(piece)), 1)
        found.append((best.values, best.indices + start, variants.gather(1, best.indices)))
    values, rows, variants = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    best = values.topk(min(CANDIDATES, values.shape[1]), 1)
    return best.values, rows.gather(1, best.indices), variants.gather(1, best.indices)
