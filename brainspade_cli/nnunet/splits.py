"""Which cases train and which validate: nnU-Net's splits_final.json.

nnU-Net's own split takes any case for validation. With synthetic cases in the set, validation then measures how well
a network knows the generator, on siblings of what it was trained with. So, where there are real cases, only they
validate, in the very folds that nnU-Net would draw for them alone (its numbers stay comparable with a training
without synthetic cases), and every synthetic case trains in every fold but where its label was given and is that of a
case that validates. Where all cases are synthetic, siblings stay together: pairs of the same label map or of slices of
one file of labels, and pairs in the style of the same scan where that leaves enough groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from brainspade_cli.errors import DatasetError
from brainspade_cli.reading import read_json

FOLDS = 5
# nnU-Net's, so that its folds and ours are the same ones.
SEED = 12345

Split = dict[str, list[str]]


def hybrid_splits(real: Sequence[str], synthetic: Mapping[str, Collection[str]]) -> list[Split]:
    """Folds over the real cases, as nnU-Net draws them; the synthetic cases train in every fold.

    `synthetic`: each synthetic case, with the real cases whose labels it was painted on, if any; where one of these
    validates, it does not train. With fewer than five real cases there are as many folds as cases.
    """
    folds = []
    for held_out in _folds([[case] for case in sorted(real)]):
        strangers = [case for case, painted in synthetic.items() if not {*painted} & {*held_out}]
        folds.append({"train": sorted({*real, *strangers} - {*held_out}), "val": held_out})
    return folds


def synthetic_splits(siblings: Sequence[Mapping[str, Sequence[Hashable]]]) -> list[Split]:
    """Folds over synthetic cases, so that no two siblings stand on both sides of one.

    `siblings`: ways to tell siblings, strictest first, each case -> marks; cases that share a mark are siblings. The
    first that leaves five groups or more serves, else the last. Raises DatasetError where even that leaves but one.
    """
    candidates = [_components(marks) for marks in siblings]
    groups = next((found for found in candidates if len(found) >= FOLDS), candidates[-1])
    if len(groups) < 2:
        raise DatasetError(
            "Splits need two cases at least that are painted neither on one label map nor on slices of one file."
        )
    cases = {case for group in groups for case in group}
    return [{"train": sorted(cases - set(held_out)), "val": held_out} for held_out in _folds(groups)]


def read_splits(path: Path) -> list[Split]:
    """Read a splits_final.json, the cases of each side sorted; raises DatasetError where it is not one."""
    try:
        content = read_json(path)
        return [{side: sorted(map(str, fold[side])) for side in ("train", "val")} for fold in content]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{path} holds no splits of nnU-Net's kind ({error!r}).") from error


def _folds(groups: list[list[str]]) -> list[list[str]]:
    """Deal groups out to folds: nnU-Net's draw where each is one case, else the largest first, to the emptiest fold."""
    order = np.arange(len(groups))
    np.random.RandomState(SEED).shuffle(order)
    folds: list[list[str]] = [[] for _ in range(min(FOLDS, len(groups)))]
    if all(len(group) == 1 for group in groups):
        for fold, members in zip(folds, np.array_split(order, len(folds)), strict=True):
            fold.extend(groups[int(index)][0] for index in members)
    else:
        for index in sorted(order, key=lambda index: -len(groups[index])):
            min(folds, key=len).extend(groups[index])
    return [sorted(fold) for fold in folds]


def _components(marks: Mapping[str, Sequence[Hashable]]) -> list[list[str]]:
    """Sorted groups of cases linked by shared marks, directly or through others."""
    bearers: dict[Hashable, list[str]] = defaultdict(list)
    for case in sorted(marks):
        for mark in marks[case]:
            bearers[mark].append(case)
    groups: list[list[str]] = []
    seen: set[str] = set()
    for first in sorted(marks):
        if first in seen:
            continue
        seen.add(first)
        group, waiting = [], [first]
        while waiting:
            case = waiting.pop()
            group.append(case)
            for mark in marks[case]:
                # Each mark is followed once: without it, a style shared by n cases would cost n * n steps.
                for sibling in bearers.pop(mark, ()):
                    if sibling not in seen:
                        seen.add(sibling)
                        waiting.append(sibling)
        groups.append(sorted(group))
    return groups
