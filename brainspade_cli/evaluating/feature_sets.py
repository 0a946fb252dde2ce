"""Features of a set of slices, with whose they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FeatureSet:
    """Features of slices, float64 (slices, features), and whose each is, (slices,)."""

    features: NDArray[np.float64]
    people: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)

    def take(self, members: NDArray[np.int64] | NDArray[np.bool_]) -> FeatureSet:
        """Some of the slices."""
        return FeatureSet(self.features[members], self.people[members])
