"""How far one set of labels lies from another, statistic by statistic and in one number.

The distance of a statistic is the Wasserstein distance between its two distributions, in standard deviations of the
second set: how far, on average, a value would have to be moved. Slices are compared with slices of their own kind: of
the same height (in bins of 10 mm, where heights are known) and with or without a lesion, so that neither a set's share
of tumours, which is asked for, nor its choice of heights makes tissue areas look wrong. Heights are a statistic of
their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.evaluating.label_statistics import LabelTable
from brainspade_cli.evaluating.resampling import Drawn, Figure, figure
from brainspade_cli.evaluating.wasserstein import RESAMPLES, Comparison

BIN_MM = 10.0
_MOMENTS = ("made_mean", "made_sd", "real_mean", "real_sd")


@dataclass(frozen=True)
class LabelDistance:
    """Distances of two sets of labels. `summary`: the mean of the families; a family: the mean of its statistics.

    `moments`: mean and standard deviation of each statistic in the first set, then in the second, to tell too much from
    too little, and all alike from all different.
    """

    summary: Figure
    families: Mapping[str, Figure]
    statistics: Mapping[str, Figure]
    moments: Mapping[str, tuple[float, float, float, float]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "summary": self.summary.to_json(),
            "families": {name: item.to_json() for name, item in self.families.items()},
            "statistics": {
                name: {**item.to_json(), **dict(zip(_MOMENTS, self.moments[name], strict=True))}
                for name, item in self.statistics.items()
            },
        }


def label_distance(made: LabelTable, real: LabelTable, *, resamples: int = RESAMPLES, seed: int = 0) -> LabelDistance:
    """Distance of `made` from `real`, with bootstrap intervals (by person where people are known, else by slice).

    The yardstick is the distance between halves of `real`. Statistics that one of the sets lacks, or that are the same
    in every slice of both, are left out. Raises ValueError where the two have other columns or nothing to compare.
    """
    if made.columns != real.columns:
        raise ValueError("the two sets of labels have different classes")
    scales = _scales(made, real)
    if not scales:
        raise ValueError("the two sets of labels have no statistic in common that varies")
    comparison = Comparison(made.people, real.people, resamples=resamples, seed=seed)
    kinds = slice_kinds(made, real)
    drawn: dict[str, NDArray[np.float64]] = {}
    halves: dict[str, NDArray[np.float64]] = {}
    for name, scale in scales.items():
        # Heights are not compared at equal heights.
        kind = tuple(part % 2 for part in kinds) if name.startswith("position/") else kinds
        found, between = comparison.distances(made.column(name), real.column(name), *kind)
        if not np.isfinite(found[0]):
            continue
        drawn[name] = found / scale
        if between is not None:
            halves[name] = between / scale
    families: dict[str, list[str]] = {}
    for name in drawn:
        families.setdefault(name.partition("/")[0], []).append(name)
    for family, members in families.items():
        drawn[family] = np.mean([drawn[name] for name in members], axis=0)
        if halves:
            halves[family] = np.mean([halves[name] for name in members], axis=0)
    drawn["summary"] = np.mean([drawn[family] for family in families], axis=0)
    if halves:
        halves["summary"] = np.mean([halves[family] for family in families], axis=0)
    put = {name: figure(Drawn(float(row[0]), row[1:], halves.get(name), least=0.0)) for name, row in drawn.items()}
    return LabelDistance(
        summary=put["summary"],
        families={family: put[family] for family in families},
        statistics={name: put[name] for members in families.values() for name in members},
        moments={name: (*_moments(made.column(name)), *_moments(real.column(name))) for name in scales},
    )


def slice_kinds(made: LabelTable, real: LabelTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of each slice's kind in the two sets: even without a lesion, odd with one; by height where all are known.

    All slices are of one kind where the sets would otherwise have none in common.
    """
    heights: Sequence[NDArray[np.float64]] = [table.column("position/height") for table in (made, real)]
    known = all(np.isfinite(part).all() for part in heights)
    lesions = [np.isfinite(table.column("lesion/load")) for table in (made, real)]
    first, second = (
        2 * (np.floor(part / BIN_MM) if known else np.zeros(len(part))).astype(np.int64) + lesion
        for part, lesion in zip(heights, lesions, strict=True)
    )
    if not np.isin(first, second).any():
        return np.zeros_like(first), np.zeros_like(second)
    return first, second


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.nanmean(values)), float(np.nanstd(values))


def _scales(made: LabelTable, real: LabelTable) -> dict[str, float]:
    """Standard deviation of each statistic that both sets have: of the real set, or of both where it varies in none."""
    scales = {}
    for name in real.columns:
        one, other = made.column(name), real.column(name)
        one, other = one[np.isfinite(one)], other[np.isfinite(other)]
        if len(one) and len(other):
            scale = float(other.std()) or float(np.concatenate([one, other]).std())
            if scale > 0:
                scales[name] = scale
    return scales
