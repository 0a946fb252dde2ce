"""Wasserstein distances of one statistic after the other between two sets of slices, all resampled alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.evaluating.resampling import bootstrap_weights, half_weights

RESAMPLES = 200
# Resamples computed at a time, which bounds the memory.
_AT_ONCE = 25


class Comparison:
    """Two sets of slices, `made` and `real`, whose statistics are to be compared.

    people: whose each slice is, (slices,). Resamples and halvings are drawn once, from `seed`.
    """

    def __init__(
        self,
        made_people: NDArray[np.int64],
        real_people: NDArray[np.int64],
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        made, real = len(made_people), len(real_people)
        first = np.vstack([np.ones((1, made), np.float32), bootstrap_weights(made_people, resamples, rng)])
        second = np.vstack([np.ones((1, real), np.float32), bootstrap_weights(real_people, resamples, rng)])
        self._first = np.hstack([first, np.zeros_like(second)])
        self._second = np.hstack([np.zeros_like(first), second])
        self._halves = half_weights(real_people, resamples, rng)

    def distances(
        self,
        made: NDArray[np.float64],
        real: NDArray[np.float64],
        made_kinds: NDArray[np.int64],
        real_kinds: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Distances of a statistic: of the sets as they are, then of each resample; and between halves of the real."""
        values, kinds = np.concatenate([made, real]), np.concatenate([made_kinds, real_kinds])
        drawn = wasserstein(values, self._first, self._second, kinds)
        if self._halves is None:
            return drawn, None
        return drawn, wasserstein(real, self._halves, ~self._halves, real_kinds)


def wasserstein(
    values: NDArray[np.float64], first: NDArray[Any], second: NDArray[Any], kinds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Wasserstein distances of weighted values, (rows,): a mean over kinds, each by its share in the two sets.

    values: (N,), NaN where there is none; first, second: weights (rows, N) of each value in the two sets; kinds: (N,).
    Kinds that one of the sets lacks are left out; NaN where none is left.
    """
    order = np.lexsort((values, kinds))
    order = order[np.isfinite(values[order])]
    if len(order) == 0:
        return np.full(len(first), np.nan)
    ordered, kind = values[order], kinds[order]
    starts = np.flatnonzero(np.append(True, kind[1:] != kind[:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    results = []
    for begin in range(0, len(first), _AT_ONCE):
        rows = slice(begin, begin + _AT_ONCE)
        one, other = first[rows, order].astype(np.float64), second[rows, order].astype(np.float64)
        sums = np.add.reduceat(one, starts, axis=1), np.add.reduceat(other, starts, axis=1)
        shared = (sums[0] > 0) & (sums[1] > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(shared, sum(part / part.sum(axis=1, keepdims=True) for part in sums), 0)
            shares /= shares.sum(axis=1, keepdims=True)
            factors = [np.where(shared, shares / part, 0) for part in sums]
        # Both sets weigh the same within a kind, so the running difference is zero again where the next one begins,
        # and one running sum does for all.
        ahead = np.cumsum(
            one * np.repeat(factors[0], sizes, axis=1) - other * np.repeat(factors[1], sizes, axis=1), axis=1
        )
        results.append(np.where(shared.any(axis=1), np.abs(ahead[:, :-1]) @ np.diff(ordered), np.nan))
    return np.concatenate(results)
