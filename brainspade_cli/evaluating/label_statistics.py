"""Labels as numbers: one row a slice, one column a statistic, so that sets of labels can be compared.

    area/CLASS         pixels (mm2) of a class; area/brain is everything but background
    components/CLASS   number of pieces of a class, touching corners joined
    entropy/brain      mean entropy of the partial volumes of a brain pixel, in nats; only where there are PV maps
    place/x, place/y   middle of the brain in the frame, mm
    lesion/load        tumour and oedema as a share of the brain's area
    lesion/core        tumour as a share of tumour and oedema
    lesion/x, lesion/y middle of the lesion, from the middle of the brain, mm
    position/height    height of the slice, mm

Lesion columns are NaN in slices without a lesion, as is whatever is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, LESION_NAMES, NAMES, TUMOUR
from brainspade_cli.geometry import DIAGONALS_TOO, MIN_TUMOUR_PIXELS


@dataclass(frozen=True)
class LabelTable:
    """Statistics of a set of labels: `values` float64 (slices, columns), named family/statistic by `columns`.

    `people`: whose each slice is, (slices,) of numbers; a slice of nobody known is a person of its own.
    `people_known`: whether these are people (or anything else whose slices resemble each other), not single slices.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    people: NDArray[np.int64]
    people_known: bool

    def __len__(self) -> int:
        return len(self.values)

    def take(self, members: NDArray[np.bool_]) -> LabelTable:
        """Some of the slices, (slices,) of yes and no."""
        return LabelTable(self.columns, self.values[members], self.people[members], self.people_known)

    def column(self, name: str) -> NDArray[np.float64]:
        """One statistic of every slice, (slices,)."""
        column: NDArray[np.float64] = self.values[:, self.columns.index(name)]
        return column


def describe_labels(
    labels: Iterable[NDArray[Any]],
    *,
    positions: Sequence[float | None] | None = None,
    people: Sequence[str] | None = None,
    names: Sequence[str] = NAMES,
) -> LabelTable:
    """Statistics of labels, read one after the other: arrays (N, ...), memory maps and generators all serve.

    labels: each a map of ids (X, Y) of whole numbers, or PV maps (channels, X, Y), fractions or bytes out of 255.
    positions: height of each slice in mm, None where it is not known; people: whose each slice is.
    names: the classes, by id; what is called tumour or oedema makes a lesion. Raises ValueError where lengths differ
    or there is no label.
    """
    rows = [describe_label(label, names) for label in labels]
    if not rows:
        raise ValueError("there are no labels to describe")
    for what, given in (("positions", positions), ("people", people)):
        if given is not None and len(given) != len(rows):
            raise ValueError(f"there are {len(given)} {what} for {len(rows)} labels")
    heights = np.array([[np.nan if z is None else z] for z in positions or [None] * len(rows)], np.float64)
    whose = np.arange(len(rows)) if people is None else np.unique(np.asarray(people), return_inverse=True)[1]
    return LabelTable(
        label_columns(names), np.hstack([np.array(rows), heights]), whose.astype(np.int64), people is not None
    )


def describe_label(label: NDArray[Any], names: Sequence[str] = NAMES) -> list[float]:
    """Statistics of one map of ids (X, Y) or of PV maps (channels, X, Y), in a table's order without the height."""
    ids = label if label.ndim == 2 else label.argmax(axis=0)
    areas = np.bincount(ids.ravel(), minlength=len(names))
    brain = int(areas[BACKGROUND + 1 :].sum())
    pieces = [_pieces(ids == channel) if areas[channel] else 0 for channel in range(1, len(names))]
    x, y = _centre(ids != BACKGROUND)
    return [
        float(brain),
        *areas[1:].astype(float),
        *map(float, pieces),
        _entropy(label, ids) if label.ndim == 3 else np.nan,
        x,
        y,
        *_lesion(ids, areas, (x, y), names),
    ]


def label_columns(names: Sequence[str] = NAMES) -> tuple[str, ...]:
    """Columns of a table of labels with these classes, by id: those that `describe_label` fills, and the height."""
    classes = names[1:]
    return (
        "area/brain",
        *(f"area/{name}" for name in classes),
        *(f"components/{name}" for name in classes),
        "entropy/brain",
        "place/x",
        "place/y",
        "lesion/load",
        "lesion/core",
        "lesion/x",
        "lesion/y",
        "position/height",
    )


def _pieces(mask: NDArray[np.bool_]) -> int:
    # The box around a class is far smaller than the frame, and labelling is most of the time that all this takes.
    across, along = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[across[0] : across[-1] + 1, along[0] : along[-1] + 1]
    return int(ndimage.label(box, structure=DIAGONALS_TOO)[1])


def _centre(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean x and y of a mask, NaN where it is empty."""
    across, along = mask.sum(axis=1), mask.sum(axis=0)
    total = across.sum()
    if total == 0:
        return np.nan, np.nan
    return float(across @ np.arange(len(across)) / total), float(along @ np.arange(len(along)) / total)


def _entropy(maps: NDArray[Any], ids: NDArray[Any]) -> float:
    """Mean entropy over the brain, in nats, of maps of any scale."""
    inside = maps[:, ids != BACKGROUND].astype(np.float32)
    if inside.size == 0:
        return np.nan
    shares = inside / inside.sum(axis=0)
    return float(-(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=0).mean())


def _lesion(
    ids: NDArray[Any], areas: NDArray[np.int64], middle: tuple[float, float], names: Sequence[str]
) -> tuple[float, float, float, float]:
    """Load, share of the core, and middle of the lesion from the brain's middle; NaN without one."""
    members = [channel for channel, name in enumerate(names) if name in LESION_NAMES]
    size = int(areas[members].sum())
    if size < MIN_TUMOUR_PIXELS:
        return np.nan, np.nan, np.nan, np.nan
    core = sum(int(areas[channel]) for channel in members if names[channel] == NAMES[TUMOUR])
    x, y = _centre(np.isin(ids, members))
    return size / areas[BACKGROUND + 1 :].sum(), core / size, x - middle[0], y - middle[1]
