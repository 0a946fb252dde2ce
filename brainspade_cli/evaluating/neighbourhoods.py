"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020) in a feature space.

A slice's neighbourhood reaches to its `NEIGHBOURS`-th nearest neighbour of its own set. Slices of the same person do
not count for it: the next millimetre of the same head is no evidence of how densely the space is filled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.evaluating.feature_sets import FeatureSet
from brainspade_cli.evaluating.resampling import Drawn, bootstrap_weights, half_weights

NEIGHBOURS = 5
RESAMPLES = 100
HALVINGS = 20
FIGURES = ("precision", "recall", "density", "coverage")


def neighbourhoods(made: FeatureSet, real: FeatureSet, rng: np.random.Generator) -> dict[str, Drawn]:
    """The four figures, each better the higher. They depend on how many slices there are: give sets of equal size.

    precision: share of the made slices within a real neighbourhood; recall: share of the real ones within a made one;
    density: mean number of real neighbourhoods around a made slice, a neighbour; coverage: share of the real
    neighbourhoods that hold a made slice.
    """
    across = _squared_distances(made, real)
    own, theirs = (_squared_distances(part, part) for part in (made, real))
    weights = (
        np.vstack([np.ones(len(made), np.float32), bootstrap_weights(made.people, RESAMPLES, rng)]),
        np.vstack([np.ones(len(real), np.float32), bootstrap_weights(real.people, RESAMPLES, rng)]),
    )
    drawn = _figures(across, _radii(own, made.people), _radii(theirs, real.people), *weights)
    halves = half_weights(real.people, HALVINGS, rng)
    between: dict[str, list[float]] = {name: [] for name in FIGURES}
    for half in halves if halves is not None else ():
        found = _figures(
            theirs[np.ix_(half, ~half)],
            _radii(theirs[np.ix_(half, half)], real.people[half]),
            _radii(theirs[np.ix_(~half, ~half)], real.people[~half]),
            np.ones((1, int(half.sum())), np.float32),
            np.ones((1, int((~half).sum())), np.float32),
        )
        for name in FIGURES:
            between[name].append(float(found[name][0]))
    return {
        name: Drawn(
            float(drawn[name][0]),
            drawn[name][1:],
            np.array(between[name]) if halves is not None else None,
            better="high",
            least=0.0,
            most=np.inf if name == "density" else 1.0,
        )
        for name in FIGURES
    }


def _squared_distances(one: FeatureSet, other: FeatureSet) -> NDArray[np.float32]:
    first, second = one.features.astype(np.float32), other.features.astype(np.float32)
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)[None, :]
    return np.maximum(squares - 2 * first @ second.T, 0)


def _radii(distances: NDArray[np.float32], people: NDArray[np.int64]) -> NDArray[np.float32]:
    """Squared distance of each slice to its `NEIGHBOURS`-th neighbour of other people, or to the last there is."""
    others = np.where(people[:, None] == people[None, :], np.inf, distances)
    nearest = np.sort(np.partition(others, min(NEIGHBOURS, len(others)) - 1, axis=1)[:, :NEIGHBOURS], axis=1)
    reached = np.isfinite(nearest).sum(axis=1)
    radii = np.take_along_axis(nearest, np.maximum(reached - 1, 0)[:, None], axis=1)[:, 0]
    return np.where(reached > 0, radii, 0).astype(np.float32)


def _figures(
    across: NDArray[np.float32],
    made_radii: NDArray[np.float32],
    real_radii: NDArray[np.float32],
    made_weights: NDArray[np.float32],
    real_weights: NDArray[np.float32],
) -> dict[str, NDArray[np.float64]]:
    """The figures (rows,) for rows of weights (rows, slices); the radii stay what they are."""
    among_real = (across <= real_radii[None, :]).astype(np.float32)
    among_made = (across <= made_radii[:, None]).astype(np.float32)
    made_there, real_there = (made_weights > 0).astype(np.float32), (real_weights > 0).astype(np.float32)

    def mean(weights: NDArray[np.float32], values: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray((weights * values).sum(axis=1, dtype=np.float64) / weights.sum(axis=1, dtype=np.float64))

    # Weights that count slices twice must not count neighbourhoods twice in a share of the slices that lie in any.
    return {
        "precision": mean(made_weights, real_there @ among_real.T > 0),
        "recall": mean(real_weights, made_there @ among_made > 0),
        "density": mean(made_weights, real_weights @ among_real.T) / NEIGHBOURS,
        "coverage": mean(real_weights, made_there @ among_real > 0),
    }
