"""What scores are judged by: how much real people agree with each other, and with how many of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crowd:
    """How many people, and how many slices of them."""

    people: int
    slices: int


@dataclass(frozen=True)
class Yardstick:
    """What one kind of slice is judged by. `threshold`: the agreement above which a slice counts as a copy.

    `between`: agreement of training slices with the nearest of another training person, (slices,), and `newcomers`: of
    slices of held-out people with the nearest training slice; either may be empty, not both. `training`, `held_out`:
    against whom, held-out people who look like training people left out; `held_out` None where nobody is held out, or
    known, or left.
    """

    threshold: float
    between: NDArray[np.float64]
    newcomers: NDArray[np.float64]
    training: Crowd
    held_out: Crowd | None

    def alarms(self, threshold: float) -> tuple[int, int]:
        """How many slices of people who cannot be copies agree more than that, and of how many: held-out, if any."""
        scores = self.newcomers if len(self.newcomers) else self.between
        return int((scores > threshold).sum()), len(scores)
