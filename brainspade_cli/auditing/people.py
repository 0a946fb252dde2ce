"""Judging slices by real people, those of a slice set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from brainspade_cli.auditing.calibration import threshold
from brainspade_cli.auditing.cuts import RealSlices
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.matching import NO_MATCH, match
from brainspade_cli.auditing.pool import RealSlice
from brainspade_cli.auditing.reference import Reference, build_reference
from brainspade_cli.auditing.scores import SliceScore
from brainspade_cli.auditing.yardstick import Crowd, Yardstick
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError


class PeopleJudge:
    """Holds slices of one kind against training people and, where there are some, held-out ones."""

    def __init__(self, kind: str, reference: Reference, descriptors: Descriptors) -> None:
        self.reference = reference
        self.yardstick = _yardstick(reference)
        self._kind = kind
        self._descriptors = descriptors

    def score(self, cases: Sequence[str], folds: Tensor) -> list[SliceScore]:
        """Scores of the slices of some cases, whose folds are (N, *FRAME)."""
        near = match(folds, self.reference.training, self._descriptors)
        origins = [self.reference.training.origins[row] for row in near.row.tolist()]
        others: list[float | None] = [None] * len(cases)
        other_origins: list[RealSlice | None] = [None] * len(cases)
        if self.reference.held_out is not None:
            new = match(folds, self.reference.held_out, self._descriptors)
            others = new.score.tolist()
            other_origins = [self.reference.held_out.origins[row] for row in new.row.tolist()]
        columns = (cases, near.score.tolist(), origins, near.maps.numpy(), others, other_origins)
        return [
            SliceScore(case, self._kind, score, origin, overlay, other, other_origin)
            for case, score, origin, overlay, other, other_origin in zip(*columns, strict=True)
        ]


def people_judges(
    real: RealSlices, where: Path, kinds: Sequence[str], descriptors: Descriptors, reporter: Reporter
) -> dict[str, PeopleJudge]:
    """Judges for the kinds that the training people of a slice set have; `where` names it in messages.

    Raises SliceSetError for a damaged set, InputError for one without any of the kinds, or with one person only.
    """
    judges = {}
    for kind in kinds:
        try:
            reference = build_reference(real, kind, descriptors, reporter)
        except ValueError as error:
            raise InputError(f"{where} cannot serve an audit: {error}; prepare scans of more people.") from error
        if reference is not None:
            judges[kind] = PeopleJudge(kind, reference, descriptors)
    if not judges:
        raise InputError(f"{where} has no training people with {' or '.join(kinds)}; name the set that was trained on.")
    return judges


def _yardstick(reference: Reference) -> Yardstick:
    between, newcomers = (
        np.zeros(0) if part is None else part.scores[part.scores > NO_MATCH]
        for part in (reference.between, reference.newcomers)
    )
    held_out = reference.held_out
    return Yardstick(
        threshold(between if len(between) else newcomers),
        between,
        newcomers,
        Crowd(len(reference.training.names), len(reference.training)),
        None if held_out is None else Crowd(len(held_out.names), len(held_out)),
    )
