"""How much any two people agree, and from which agreement on a slice is taken for a copy.

The best agreement of a slice with everybody else's is close to normal once Fisher's transform has unbent it. The
threshold lies as far above the middle as one slice in a million would: no scan set has slices enough to see that place,
so it is found from the middle and from the point that nine slices in ten keep below. Both stand firm when one person in
ten lies in the training set under two names, which the very highest agreements would not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ONE_IN = 1_000_000
_INNER = 0.9
# Further up there is nothing to be found.
_HIGHEST = 0.99
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def threshold(scores: NDArray[np.float64]) -> float:
    """The agreement that one slice in `ONE_IN` of real people exceeds, from agreements (N,) between different people.

    Raises ValueError without any.
    """
    if not len(scores):
        raise ValueError("there are no real people to compare with each other")
    middle, inner = np.arctanh(np.quantile(np.clip(scores, -_HIGHEST, _HIGHEST), (0.5, _INNER)))
    reach = stats.norm.isf(1 / ONE_IN) / stats.norm.ppf(_INNER)
    return float(min(_HIGHEST, np.tanh(middle + reach * (inner - middle))))


def summary(scores: NDArray[np.float64]) -> Mapping[str, float] | None:
    """Number, quantiles ("q01" and so on) and the highest of scores (N,); None without any."""
    if not len(scores):
        return None
    values = np.quantile(scores, QUANTILES)
    named = {f"q{round(100 * q):02d}": round(float(value), 4) for q, value in zip(QUANTILES, values, strict=True)}
    return {"slices": len(scores), **named, "highest": round(float(scores.max()), 4)}
