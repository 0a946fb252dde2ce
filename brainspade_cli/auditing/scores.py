"""How a dataset's slices score against real people, one row a slice and kind, and which of them count as copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.auditing.pool import RealSlice
from brainspade_cli.auditing.yardstick import Yardstick


@dataclass(frozen=True)
class SliceScore:
    """One slice of the dataset: its label (`kind` "labels"), or its image of the channel `kind`.

    `training`: agreement with the nearest training slice, `origin`, over which `overlay` (2, 3) lays it; both None
    where all that is known of it is a code. `held_out`: agreement with the nearest slice of a held-out person,
    `held_out_origin`; None where nobody new is held out.
    """

    case: str
    kind: str
    training: float
    origin: RealSlice | None = None
    overlay: NDArray[np.float32] | None = None
    held_out: float | None = None
    held_out_origin: RealSlice | None = None

    def is_copy(self, threshold: float) -> bool:
        """Whether it agrees with a training slice more than people do with each other, and more than with anyone new.

        What agrees as well with a person that nobody trained on is no copy, but a slice without much to tell. Held-out
        people who agree with training people like copies do not count as new.
        """
        return self.training > threshold and (self.held_out is None or self.training > self.held_out)


class Judge(Protocol):
    """Whatever knows the training people for one kind of slice, and how much any two people agree in it."""

    @property
    def yardstick(self) -> Yardstick:
        """What the scores are judged by."""
        ...

    def score(self, cases: Sequence[str], folds: Tensor) -> list[SliceScore]:
        """Scores of the slices of some cases, whose folds are (N, *FRAME)."""
        ...
