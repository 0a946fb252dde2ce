"""Frechet distance between two sets of features (Heusel et al. 2017), each taken for a Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.evaluating.feature_sets import FeatureSet
from brainspade_cli.evaluating.resampling import Drawn, bootstrap_weights, half_weights

RESAMPLES = 100
HALVINGS = 40


def frechet(made: FeatureSet, real: FeatureSet, rng: np.random.Generator) -> Drawn:
    """The squared distance, divided by the number of features; 0 where means and covariances are alike.

    Few slices make it larger: their covariances are estimated badly.
    """
    weights = zip(
        bootstrap_weights(made.people, RESAMPLES, rng), bootstrap_weights(real.people, RESAMPLES, rng), strict=True
    )
    drawn = [_between(_moments(made.features, one), _moments(real.features, other)) for one, other in weights]
    halves = half_weights(real.people, HALVINGS, rng)
    between = None
    if halves is not None:
        between = np.array([_between(_moments(real.features, half), _moments(real.features, ~half)) for half in halves])
    whole = _between(
        _moments(made.features, np.ones(len(made), np.float32)), _moments(real.features, np.ones(len(real), np.float32))
    )
    return Drawn(whole, np.array(drawn), between, least=0.0)


_Moments = tuple[NDArray[np.float64], NDArray[np.float64]]


def _moments(features: NDArray[np.float64], weights: NDArray[np.float32] | NDArray[np.bool_]) -> _Moments:
    """Mean (features,) and covariance (features, features) of weighted slices."""
    kept = weights > 0
    shares = weights[kept].astype(np.float64)
    shares /= shares.sum()
    mean = shares @ features[kept]
    away = features[kept] - mean
    return mean, (away * shares[:, None]).T @ away


def _between(first: _Moments, second: _Moments) -> float:
    (one, spread), (other, wide) = first, second
    values, vectors = np.linalg.eigh(spread)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ wide @ root), 0)).sum()
    whole = np.square(one - other).sum() + np.trace(spread) + np.trace(wide) - 2 * shared
    return max(0.0, float(whole / len(one)))
