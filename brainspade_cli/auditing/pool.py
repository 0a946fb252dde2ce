"""The slices of real people that others are held against: descriptors to search by, and folds to compare in detail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.auditing.canonical import FRAME, canonical
from brainspade_cli.auditing.descriptors import SIZE, Descriptors
from brainspade_cli.sampling.lanes import Lanes

Item = TypeVar("Item")
# Slices prepared together, in one lane; they fit a processor's cache.
BLOCK = 32
# Folds as bytes: four standard deviations and more lie at the end of the scale.
_STEPS = 31.75


@dataclass(frozen=True)
class RealSlice:
    """Where a slice of a pool comes from: scan, "labels" or a modality, number of the slice, person, height in mm."""

    scan: str
    what: str
    number: int
    person: str
    height: float

    @property
    def name(self) -> str:
        """The slice in words."""
        return f"{self.scan} {self.what} slice {self.number}"


@dataclass(frozen=True)
class Pool:
    """Slices of real people. `descriptors`: float32 (N, SIZE); `stored`: folds as int8 (N, *FRAME), 8 kB each.

    `people`: a number for each person, (N,). `origins`: where each slice comes from.
    """

    descriptors: Tensor
    stored: Tensor
    people: Tensor
    origins: tuple[RealSlice, ...]

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def names(self) -> tuple[str, ...]:
        """Sorted names of the people."""
        return tuple(sorted({origin.person for origin in self.origins}))

    def without(self, people: Collection[str]) -> Pool | None:
        """The same without some people; None where nobody is left."""
        if not set(people) & set(self.names):
            return self
        rows = [row for row, origin in enumerate(self.origins) if origin.person not in people]
        if not rows:
            return None
        return Pool(self.descriptors[rows], self.stored[rows], self.people[rows], tuple(self.origins[k] for k in rows))

    def folds(self, rows: Tensor) -> Tensor:
        """Folds (K, *FRAME) of some slices."""
        return self.stored[rows].float() / _STEPS


def fold_block(cuts: Sequence[NDArray[np.float32]]) -> Tensor:
    """Folds (N, *FRAME) of slices cut out by `centred`."""
    return canonical(torch.from_numpy(np.stack(cuts)))


def build_pool(
    origins: Sequence[RealSlice],
    cut: Callable[[RealSlice], NDArray[np.float32]],
    numbers: Mapping[str, int],
    descriptors: Descriptors,
    advance: Callable[[int], None],
) -> Pool:
    """Read and describe slices.

    numbers: a number for each person, the same for all pools of an audit.
    """

    def prepare(block: Sequence[RealSlice]) -> tuple[Tensor, Tensor]:
        folds = fold_block([cut(origin) for origin in block])
        return descriptors.plain(folds), (folds * _STEPS).round().clamp(-127, 127).to(torch.int8)

    described = torch.empty(len(origins), SIZE)
    stored = torch.empty(len(origins), *FRAME, dtype=torch.int8)
    done = 0
    with Lanes() as lanes:
        for found, folds in lanes.in_order(prepare, blocks(origins)):
            end = done + len(folds)
            described[done:end], stored[done:end] = found, folds
            advance(len(folds))
            done = end
    people = torch.tensor([numbers[origin.person] for origin in origins], dtype=torch.long)
    return Pool(described, stored, people, tuple(origins))


def blocks(items: Sequence[Item]) -> list[Sequence[Item]]:
    """The items in blocks of `BLOCK`."""
    return [items[start : start + BLOCK] for start in range(0, len(items), BLOCK)]
