"""What a figure would have been with other people: bootstrap weights, random halves, and the intervals they give."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % bootstrap interval, and the yardstick by which to read it.

    `usual` and `worst_usual`: the same figure for a random half of the real people held against the other half, median
    and 95th percentile from the good side, over many halvings; None where nothing could be halved. `better`: "low" or
    "high". `seed_spread`: standard deviation over random choices of slices or pairs, None where none were made.
    """

    value: float
    low: float
    high: float
    usual: float | None = None
    worst_usual: float | None = None
    better: str = "low"
    seed_spread: float | None = None

    @property
    def within(self) -> bool | None:
        """Whether it is as good as between real people; None without a yardstick."""
        if self.worst_usual is None:
            return None
        return self.value <= self.worst_usual if self.better == "low" else self.value >= self.worst_usual

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "within": self.within}


def bootstrap_weights(people: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each slice is in each resample, (resamples, slices): people are drawn, and bring all their slices."""
    whose = numbered(people)
    count = int(whose.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    weights: NDArray[np.float32] = drawn.astype(np.float32)[:, whose]
    return weights


def half_weights(people: NDArray[np.int64], halvings: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Which slices lie in the first half of the people, (halvings, slices); None for one person alone."""
    whose = numbered(people)
    count = int(whose.max()) + 1
    if count < 2:
        return None
    order = rng.permuted(np.tile(np.arange(count), (halvings, 1)), axis=1)
    first: NDArray[np.bool_] = (order < count // 2)[:, whose]
    return first


def numbered(people: NDArray[np.int64]) -> NDArray[np.int64]:
    """People counted 0, 1, 2, ... without a gap."""
    return np.unique(people, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Drawn:
    """A figure before it is put together: its value, its value in each resample, and that between halves of the real.

    No interval goes below `least` or above `most`.
    """

    value: float
    resampled: NDArray[np.floating]
    halves: NDArray[np.floating] | None
    better: str = "low"
    least: float = -np.inf
    most: float = np.inf


def figure(*drawn: Drawn) -> Figure:
    """Put a figure together. Several are of other random choices each: their mean counts, and their spread is told."""
    first = drawn[0]
    values = [item.value for item in drawn]
    value = float(np.mean(values))
    low, high = centred_interval(value, first.resampled)
    usual, worst = yardstick(first.halves, first.better)
    return Figure(
        value,
        float(np.clip(low, first.least, first.most)),
        float(np.clip(high, first.least, first.most)),
        usual,
        worst,
        first.better,
        float(np.std(values, ddof=1)) if len(values) > 1 else None,
    )


def yardstick(halves: NDArray[np.floating] | None, better: str) -> tuple[float | None, float | None]:
    """Median of what lies between halves, and what only one in twenty is worse than; None without halves."""
    known = None if halves is None else halves[np.isfinite(halves)]
    if known is None or len(known) == 0:
        return None, None
    return float(np.median(known)), float(np.quantile(known, LEVEL if better == "low" else 1 - LEVEL))


def centred_interval(value: float, resampled: NDArray[np.floating]) -> tuple[float, float]:
    """The spread of resampled values around their mean, laid around a value.

    Resampling adds the noise to a distance that the sample already brought, so its percentiles alone lie too high.
    """
    known = resampled[np.isfinite(resampled)]
    if len(known) == 0:
        return value, value
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(value - (known.mean() - low)), float(value + (high - known.mean()))
