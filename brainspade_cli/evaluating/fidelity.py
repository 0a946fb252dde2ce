"""Do the images as a set look like real ones? Distances and neighbourhoods in the features of a fixed network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brainspade_cli.evaluating.feature_sets import FeatureSet
from brainspade_cli.evaluating.frechet import frechet
from brainspade_cli.evaluating.kernel import kernel_distance
from brainspade_cli.evaluating.neighbourhoods import neighbourhoods
from brainspade_cli.evaluating.resampling import Drawn, Figure, figure

# Slices of a set that are held against all of another at most, and how often they are drawn anew where there are more.
MOST_PAIRED = 2000
SEEDS = 3
# A feature that hardly varies among real slices must not outweigh the rest.
_LEAST_DEVIATION = 1e-2


def fidelity(made: FeatureSet, real: FeatureSet, seed: int = 0) -> dict[str, Figure]:
    """Frechet and kernel distance, precision, recall, density and coverage, by name; no set may be empty.

    Features count in standard deviations of the real set. Where all slices are one person's, each counts by itself.
    """
    made, real = (_apart(part) for part in (made, real))
    centre = real.features.mean(axis=0)
    spread = np.maximum(real.features.std(axis=0), _LEAST_DEVIATION)
    made, real = (FeatureSet((part.features - centre) / spread, part.people) for part in (made, real))
    return {
        "frechet": figure(frechet(made, real, np.random.default_rng(seed))),
        **_over_seeds(lambda *sets: {"kernel": kernel_distance(*sets)}, made, real, (MOST_PAIRED, MOST_PAIRED), seed),
        **_over_seeds(neighbourhoods, made, real, (min(MOST_PAIRED, len(made), len(real)),) * 2, seed),
    }


def _over_seeds(
    measure: Callable[[FeatureSet, FeatureSet, np.random.Generator], dict[str, Drawn]],
    made: FeatureSet,
    real: FeatureSet,
    most: tuple[int, int],
    seed: int,
) -> dict[str, Figure]:
    """Figures of all slices, or of as many as there may be, drawn `SEEDS` times."""
    whole = len(made) <= most[0] and len(real) <= most[1]
    runs = []
    for number in range(1 if whole else SEEDS):
        rng = np.random.default_rng([seed, number])
        runs.append(measure(_some(made, most[0], rng), _some(real, most[1], rng), rng))
    return {name: figure(*(run[name] for run in runs)) for name in runs[0]}


def _apart(part: FeatureSet) -> FeatureSet:
    several = len(np.unique(part.people)) > 1
    return part if several else FeatureSet(part.features, np.arange(len(part)))


def _some(part: FeatureSet, most: int, rng: np.random.Generator) -> FeatureSet:
    return part if len(part) <= most else part.take(np.sort(rng.choice(len(part), most, replace=False)))
