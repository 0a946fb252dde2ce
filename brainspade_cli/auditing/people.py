"""Judging slices by real people, those of a slice set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from brainspade_cli.auditing.calibration import threshold
from brainspade_cli.auditing.cuts import RealSlices
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.matching import NO_MATCH, match
from brainspade_cli.auditing.pool import Pool, RealSlice
from brainspade_cli.auditing.reference import Reference, build_reference
from brainspade_cli.auditing.scores import SliceScore
from brainspade_cli.auditing.yardstick import Crowd, Yardstick
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError

# A slice without much to tell agrees with anybody's; a person of whom so large a part agrees is the same person.
TWIN_SHARE = 0.1


class PeopleJudge:
    """Holds slices of one kind against training people and, where there are some, held-out ones."""

    def __init__(self, kind: str, reference: Reference, descriptors: Descriptors, twins: Sequence[str] = ()) -> None:
        self.reference = reference
        # Held-out people who are training people under another name would excuse the copies of themselves.
        self.twins = tuple(twins)
        self._new = None if reference.held_out is None else reference.held_out.without(self.twins)
        self.yardstick = _yardstick(reference, self._new)
        self._kind = kind
        self._descriptors = descriptors

    def score(self, cases: Sequence[str], folds: Tensor) -> list[SliceScore]:
        """Scores of the slices of some cases, whose folds are (N, *FRAME)."""
        near = match(folds, self.reference.training, self._descriptors)
        origins = [self.reference.training.origins[row] for row in near.row.tolist()]
        others: list[float | None] = [None] * len(cases)
        other_origins: list[RealSlice | None] = [None] * len(cases)
        if self._new is not None:
            new = match(folds, self._new, self._descriptors)
            others = new.score.tolist()
            other_origins = [self._new.origins[row] for row in new.row.tolist()]
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
    references = {}
    for kind in kinds:
        try:
            reference = build_reference(real, kind, descriptors, reporter)
        except ValueError as error:
            raise InputError(f"{where} cannot serve an audit: {error}; prepare scans of more people.") from error
        if reference is not None:
            references[kind] = reference
    if not references:
        raise InputError(f"{where} has no training people with {' or '.join(kinds)}; name the set that was trained on.")
    twins = sorted({name for reference in references.values() for name in _twins(reference)})
    return {kind: PeopleJudge(kind, reference, descriptors, twins) for kind, reference in references.items()}


def _twins(reference: Reference) -> Iterator[str]:
    """Held-out people, more of whose slices than `TWIN_SHARE` agree with training people as copies do."""
    if reference.held_out is None or reference.newcomers is None:
        return
    limit = _yardstick(reference, reference.held_out).threshold
    slices: Counter[str] = Counter()
    alike: Counter[str] = Counter()
    for row, score in zip(reference.newcomers.rows, reference.newcomers.scores, strict=True):
        person = reference.held_out.origins[row].person
        slices[person] += 1
        alike[person] += bool(score > limit)
    yield from (person for person, count in slices.items() if alike[person] > TWIN_SHARE * count)


def _yardstick(reference: Reference, held_out: Pool | None) -> Yardstick:
    between, newcomers = (
        np.zeros(0) if part is None else part.scores[part.scores > NO_MATCH]
        for part in (reference.between, reference.newcomers)
    )
    return Yardstick(
        threshold(between if len(between) else newcomers),
        between,
        newcomers,
        Crowd(len(reference.training.names), len(reference.training)),
        None if held_out is None else Crowd(len(held_out.names), len(held_out)),
    )
