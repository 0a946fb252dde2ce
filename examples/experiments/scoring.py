"""Volumes from slices, their scores, and what the scores say about the arms: plain functions on arrays and numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

METRICS = ("dice", "accuracy", "precision", "recall")


@dataclass(frozen=True)
class Score:
    """One label of one test scan, as one training of one arm segmented it."""

    arm: str
    training: int
    person: str
    scan: str
    label: str
    dice: float
    accuracy: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Summary:
    """One metric of one label and arm.

    `mean`: over people and trainings (a person's scans are averaged first). `over_people`: sample standard deviation of
    the people's means over trainings; `over_trainings`: of the trainings' means over people. NaN where there is one.
    """

    mean: float
    over_people: float
    over_trainings: float
    people: int
    trainings: int


def assemble(planes: Mapping[int, NDArray[np.uint8]], slices: int) -> NDArray[np.uint8]:
    """Stack segmented slices (X, Y), numbered from 0, into a volume (X, Y, slices); ValueError where one is missing."""
    missing = sorted(set(range(slices)) - set(planes))
    if missing or len(planes) != slices:
        raise ValueError(f"a volume of {slices} slices has {len(planes)} of them; missing are {missing[:5]}")
    return np.stack([planes[k] for k in range(slices)], axis=-1)


def measure(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], value: int, counted: NDArray[np.bool_]
) -> dict[str, float]:
    """Dice, accuracy, precision and recall of one label value over the voxels that are `counted`.

    A label that neither shows scores 1; where only one shows it, what would be divided by nothing scores 0.
    """
    found, there = (predicted == value) & counted, (truth == value) & counted
    both, in_found, in_truth = int((found & there).sum()), int(found.sum()), int(there.sum())
    empty = 1.0 if in_found == in_truth == 0 else 0.0
    return {
        "dice": 2 * both / (in_found + in_truth) if in_found + in_truth else empty,
        "accuracy": float(((found == there) & counted).sum() / max(int(counted.sum()), 1)),
        "precision": both / in_found if in_found else empty,
        "recall": both / in_truth if in_truth else empty,
    }


def table_of(scores: Iterable[Score], metric: str) -> dict[tuple[str, str], NDArray[np.float64]]:
    """(arm, label) -> values (people, trainings), people sorted by name, a person's scans averaged.

    Raises ValueError where the trainings of an arm were not all tested on the same people.
    """
    cells: dict[tuple[str, str], dict[tuple[str, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in scores:
        cells[row.arm, row.label][row.person, row.training].append(getattr(row, metric))
    tables = {}
    for key, found in cells.items():
        people, trainings = sorted({person for person, _ in found}), sorted({training for _, training in found})
        if len(found) != len(people) * len(trainings):
            raise ValueError(f"the trainings of arm {key[0]} were tested on different people")
        tables[key] = np.array([[np.mean(found[person, number]) for number in trainings] for person in people])
    return tables


def summarise(values: NDArray[np.float64]) -> Summary:
    """Mean and standard deviations of values (people, trainings)."""
    people, trainings = values.shape
    return Summary(
        mean=float(values.mean()),
        over_people=float(values.mean(axis=1).std(ddof=1)) if people > 1 else float("nan"),
        over_trainings=float(values.mean(axis=0).std(ddof=1)) if trainings > 1 else float("nan"),
        people=people,
        trainings=trainings,
    )


def paired_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Two-sided p of a t-test paired over people, on each person's mean over trainings; values (people, trainings).

    NaN with fewer than two people, or where all differences are the same, so that there is nothing to test.
    """
    differences = first.mean(axis=1) - second.mean(axis=1)
    if len(differences) < 2 or np.ptp(differences) < 1e-12:
        return float("nan")
    return float(stats.ttest_1samp(differences, 0.0).pvalue)
