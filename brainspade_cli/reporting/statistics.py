"""What a report's histograms count: from the manifest where it tells, else from the slices that are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import BACKGROUND, Label
from brainspade_cli.checked import count, number, table
from brainspade_cli.reporting.cases import ALL_LESION_NAMES, ShownCase

# Pixels of a tissue that one slice adds to its histogram.
PIXELS_EACH = 500
MM2_PER_CM2 = 100.0


@dataclass(frozen=True)
class SampleStatistics:
    """`areas`: by class, cm2 in each slice that shows it. `positions`: mm. `loads`: % of the brain, of slices with any.

    `intensities`: by channel and class, SDs of the brain. `counted`: slices behind the areas; `looked_at`: behind the
    intensities.
    """

    areas: Mapping[str, NDArray[np.float64]]
    positions: NDArray[np.float64]
    loads: NDArray[np.float64]
    intensities: Mapping[str, Mapping[str, NDArray[np.float64]]]
    counted: int
    looked_at: int


@dataclass
class StatisticsCollector:
    """Takes rows of the manifest, and cases one at a time; `result` sums up."""

    labels: Sequence[Label]
    _counts: list[list[int]] = field(default_factory=list)
    _heights: list[float] = field(default_factory=list)
    _told: bool = False
    _looked_at: int = 0
    _pixels: dict[str, dict[str, list[NDArray[np.float64]]]] = field(default_factory=dict)

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count what the manifest tells of every case: all rows, if each counts the pixels of just these labels."""
        names = [label.name for label in self.labels]
        counts, heights = [], []
        for row in rows:
            pixels = table(row.get("pixels"))
            told = [found for name in names if (found := count(pixels.get(name))) is not None]
            if len(told) != len(pixels) or len(told) != len(names):
                return
            counts.append(told)
            height = number(row.get("position_mm"))
            heights.append(np.nan if height is None else height)
        self._counts, self._heights, self._told = counts, heights, bool(counts)

    def add_case(self, case: ShownCase) -> None:
        """Count the pixels of a case, unless the manifest told of all, and take some of its intensities."""
        self._looked_at += 1
        if not self._told:
            self._counts.append(np.bincount(case.label.ravel(), minlength=len(self.labels)).tolist())
            self._heights.append(np.nan if case.height is None else case.height)
        for channel, image in case.images.items():
            tissues = self._pixels.setdefault(channel, {})
            for label in self.labels[1:]:
                values = image[case.label == label.channel]
                step = max(1, len(values) // PIXELS_EACH)
                tissues.setdefault(label.name, []).append(values[::step].astype(np.float64))

    def result(self) -> SampleStatistics:
        """All that was counted."""
        counts = np.array(self._counts, np.float64).reshape(-1, len(self.labels))
        brain = np.delete(counts, BACKGROUND, axis=1).sum(axis=1)
        lesion = counts[:, [label.name in ALL_LESION_NAMES for label in self.labels]].sum(axis=1)
        ill = (lesion > 0) & (brain > lesion)
        areas = {
            label.name: counts[counts[:, label.channel] > 0, label.channel] / MM2_PER_CM2 for label in self.labels[1:]
        }
        return SampleStatistics(
            areas={name: values for name, values in areas.items() if len(values)},
            positions=np.array(self._heights),
            loads=100 * lesion[ill] / brain[ill],
            intensities={
                channel: {name: np.concatenate(parts) for name, parts in tissues.items() if any(map(len, parts))}
                for channel, tissues in self._pixels.items()
            },
            counted=len(counts),
            looked_at=self._looked_at,
        )
