"""Kernel distance between two sets of features: squared maximum mean discrepancy, unbiased (Binkowski et al. 2018)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.evaluating.feature_sets import FeatureSet
from brainspade_cli.evaluating.resampling import Drawn, bootstrap_weights, half_weights, numbered

RESAMPLES = 200
HALVINGS = 100
DEGREE = 3


def kernel_distance(made: FeatureSet, real: FeatureSet, rng: np.random.Generator) -> Drawn:
    """The discrepancy with the kernel (x y / features + 1) ** 3; 0 on average where the sets are alike, also below 0.

    Pairs of one person are left out, for its slices resemble each other however many other people there are.
    """
    within = _kernel(made, made), _kernel(real, real)
    across = _kernel(made, real)
    drawn = _discrepancies(
        within,
        across,
        (made.people, real.people),
        (
            np.vstack([np.ones(len(made), np.float32), bootstrap_weights(made.people, RESAMPLES, rng)]),
            np.vstack([np.ones(len(real), np.float32), bootstrap_weights(real.people, RESAMPLES, rng)]),
        ),
    )
    halves = half_weights(real.people, HALVINGS, rng)
    between = None
    if halves is not None:
        sides = halves.astype(np.float32), (~halves).astype(np.float32)
        own = within[1]
        between = _discrepancies((own, own), own, (real.people, real.people), sides)
    return Drawn(float(drawn[0]), drawn[1:], between)


def _kernel(one: FeatureSet, other: FeatureSet) -> NDArray[np.float32]:
    product = one.features.astype(np.float32) @ other.features.astype(np.float32).T
    kernel: NDArray[np.float32] = (product / np.float32(one.features.shape[1]) + 1) ** DEGREE
    return kernel


def _discrepancies(
    within: tuple[NDArray[np.float32], NDArray[np.float32]],
    across: NDArray[np.float32],
    people: tuple[NDArray[np.int64], NDArray[np.int64]],
    weights: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Discrepancies (rows,) for rows of weights (rows, slices) in the two sets; NaN where a set has but one person."""
    first, second = (_mean_within(*item) for item in zip(within, people, weights, strict=True))
    one, other = weights
    total = np.einsum("rj,rj->r", one @ across, other, dtype=np.float64)
    counts = one.sum(axis=1, dtype=np.float64) * other.sum(axis=1, dtype=np.float64)
    return np.asarray(first + second - 2 * total / counts, np.float64)


def _mean_within(
    kernel: NDArray[np.float32], people: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Weighted mean of the kernel over pairs of two people, (rows,)."""
    whose = numbered(people)
    total = np.einsum("rj,rj->r", weights @ kernel, weights, dtype=np.float64)
    pairs = np.square(weights.sum(axis=1, dtype=np.float64))
    if whose.max() + 1 == len(whose):
        # Nobody has two slices: all that is left out is the diagonal.
        total -= np.square(weights, dtype=np.float64) @ kernel.diagonal()
        pairs -= np.square(weights, dtype=np.float64).sum(axis=1)
    else:
        for person in range(whose.max() + 1):
            members = np.flatnonzero(whose == person)
            own = weights[:, members]
            total -= np.einsum("rj,rj->r", own @ kernel[np.ix_(members, members)], own, dtype=np.float64)
            pairs -= np.square(own.sum(axis=1, dtype=np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(pairs > 0, total / pairs, np.nan), np.float64)
