"""What a dataset's labels, or the images of one channel, are held against: real people, and how much any two agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brainspade_cli.auditing.cuts import RealSlices
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.matching import Matches, match
from brainspade_cli.auditing.pool import BLOCK, Pool, build_pool
from brainspade_cli.console import Reporter
from brainspade_cli.evaluating.slice_source import evenly
from brainspade_cli.sampling.lanes import Lanes

# Slices of real people that are held against each other, spread evenly over each set: enough to know how they agree.
MOST_CALIBRATION = 2000


@dataclass(frozen=True)
class Baseline:
    """Real slices, `rows` of a pool, with the agreement `scores` (N,) of the `nearest` training slice of others."""

    rows: NDArray[np.int64]
    nearest: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Real people for one kind of slice, and what they agree by.

    `between`: training slices against the training slices of everybody else, None where only one person was trained
    on. `newcomers`: slices of held-out people against the training slices. `held_out` and `newcomers` are None where
    nobody is held out.
    """

    training: Pool
    held_out: Pool | None
    between: Baseline | None
    newcomers: Baseline | None


def build_reference(real: RealSlices, kind: str, descriptors: Descriptors, reporter: Reporter) -> Reference | None:
    """Read the people of a slice set for one kind of slice; None where those trained on have none of it.

    Raises SliceSetError for a damaged set, ValueError where there are no two people to compare.
    """
    origins = {split: real.origins(split, kind) for split in ("train", "held-out")}
    if not origins["train"]:
        return None
    people = sorted({origin.person for part in origins.values() for origin in part})
    if len(people) < 2:
        raise ValueError(f"its {kind} are of one person only")
    numbers = {person: number for number, person in enumerate(people)}
    with reporter.progress(f"real people: {kind}", sum(map(len, origins.values()))) as advance:
        pools = {
            split: build_pool(part, real.cut, numbers, descriptors, advance) for split, part in origins.items() if part
        }
    training, held_out = pools["train"], pools.get("held-out")
    asked = [pool for pool in (training if len(training.names) > 1 else None, held_out) if pool is not None]
    with reporter.progress(
        f"people against each other: {kind}", sum(min(len(pool), MOST_CALIBRATION) for pool in asked)
    ) as advance:
        found = {id(pool): _baseline(pool, training, descriptors, advance) for pool in asked}
    return Reference(training, held_out, found.get(id(training)), found.get(id(held_out)))


def _baseline(pool: Pool, training: Pool, descriptors: Descriptors, advance: Callable[[int], None]) -> Baseline:
    """Slices of a pool, spread evenly over it, against the training slices of everybody else."""
    rows = torch.tensor(evenly(len(pool), MOST_CALIBRATION))

    def compare(block: torch.Tensor) -> Matches:
        return match(pool.folds(block), training, descriptors, without=pool.people[block])

    parts = []
    with Lanes() as lanes:
        for part in lanes.in_order(compare, rows.split(BLOCK)):
            parts.append(part)
            advance(len(part.score))
    found = Matches.joined(parts)
    return Baseline(rows.numpy(), found.row.numpy(), found.score.double().numpy())
