"""Contrast: how bright each tissue is, held against real people; and the brain's histogram, against a style scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.evaluating.collect import Collected
from brainspade_cli.evaluating.image_statistics import HISTOGRAM_BINS, HISTOGRAM_RANGE
from brainspade_cli.evaluating.label_distance import slice_kinds
from brainspade_cli.evaluating.resampling import Drawn, Figure, bootstrap_weights, figure, half_weights
from brainspade_cli.evaluating.wasserstein import RESAMPLES, Comparison


@dataclass(frozen=True)
class TissueContrast:
    """Distances of the tissues' mean z-scores between made and real images of one channel.

    `summary`: mean over tissues. `tissues`: each with the means of the made and of the real set. `correlation` of these
    means over tissues, None with fewer than three.
    """

    summary: Figure
    tissues: dict[str, tuple[Figure, float, float]]
    correlation: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "summary": self.summary.to_json(),
            "tissues": {
                name: {**item.to_json(), "made_mean": made, "real_mean": real}
                for name, (item, made, real) in self.tissues.items()
            },
            "correlation": self.correlation,
        }


def tissue_contrast(
    made: Collected, real: Collected, channel: str, tissues: tuple[str, ...], seed: int
) -> TissueContrast | None:
    """Compare slice by slice means of each tissue, at equal heights; None where no tissue is in both sets.

    Distances are Wasserstein distances in standard deviations of a slice's brain: the style scan's contrast is missed
    by so much.
    """
    one, other = made.channels[channel], real.channels[channel]
    comparison = Comparison(one.features.people, other.features.people, seed=seed)
    kinds = [kind[part.place] for kind, part in zip(slice_kinds(made.labels, real.labels), (one, other), strict=True)]
    drawn, halves, means = {}, {}, {}
    for place, name in enumerate(tissues):
        first, second = one.contrast[:, place], other.contrast[:, place]
        if np.isfinite(first).any() and np.isfinite(second).any():
            drawn[name], between = comparison.distances(first, second, kinds[0], kinds[1])
            means[name] = float(np.nanmean(first)), float(np.nanmean(second))
            if between is not None:
                halves[name] = between
    drawn = {name: row for name, row in drawn.items() if np.isfinite(row[0])}
    if not drawn:
        return None
    found = {name: figure(Drawn(float(row[0]), row[1:], halves.get(name), least=0.0)) for name, row in drawn.items()}
    whole = np.mean(list(drawn.values()), axis=0)
    between = np.mean([halves[name] for name in drawn], axis=0) if halves else None
    pairs = np.array([means[name] for name in drawn])
    varied = len(pairs) > 2 and bool((pairs.std(axis=0) > 0).all())
    return TissueContrast(
        summary=figure(Drawn(float(whole[0]), whole[1:], between, least=0.0)),
        tissues={name: (item, *means[name]) for name, item in found.items()},
        correlation=float(np.corrcoef(pairs.T)[0, 1]) if varied else None,
    )


def histogram_distance(made: NDArray[np.float64], style: NDArray[np.float64], seed: int) -> Figure:
    """Wasserstein distance between mean histograms (images, bins), in standard deviations of a slice's brain.

    The yardstick is the distance between halves of the style scan's own slices.
    """
    rng = np.random.default_rng(seed)
    slices = np.arange(len(made)), np.arange(len(style))
    weights = [bootstrap_weights(part, RESAMPLES, rng).astype(np.float64) for part in slices]
    drawn = _distances(weights[0] @ made / len(made), weights[1] @ style / len(style))
    halves = half_weights(slices[1], RESAMPLES, rng)
    between = None
    if halves is not None:
        sides = halves.astype(np.float64), (~halves).astype(np.float64)
        between = _distances(*(side @ style / side.sum(axis=1, keepdims=True) for side in sides))
    value = float(_distances(made.mean(axis=0)[None], style.mean(axis=0)[None])[0])
    return figure(Drawn(value, drawn, between, least=0.0))


def _distances(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    width = (HISTOGRAM_RANGE[1] - HISTOGRAM_RANGE[0]) / HISTOGRAM_BINS
    return np.asarray(np.abs(np.cumsum(one - other, axis=1)).sum(axis=1) * width, np.float64)
