"""The run behind `brainspade audit`: is a slice of a dataset a copy of a slice that its weights were trained on?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli import __version__
from brainspade_cli.auditing import notes
from brainspade_cli.auditing.cuts import LABELS, RealSlices, cuts_of, label_table
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.made_with import check_weights, trained_people
from brainspade_cli.auditing.people import people_judges
from brainspade_cli.auditing.pictures import write_pair
from brainspade_cli.auditing.pool import blocks, fold_block
from brainspade_cli.auditing.report import (
    FORMAT,
    MOST_PICTURES,
    PICTURES,
    REPORT,
    TABLE,
    flagged,
    limits,
    section,
    write_table,
)
from brainspade_cli.auditing.scores import Judge, SliceScore
from brainspade_cli.auditing.weights_codes import weights_judges
from brainspade_cli.console import Reporter
from brainspade_cli.errors import DatasetError, InputError, SliceSetError
from brainspade_cli.evaluating.read_raw import RawSlices, open_raw
from brainspade_cli.files import disk_errors, write_json
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling.lanes import Lanes
from brainspade_cli.slices import open_slice_set
from brainspade_cli.weights import open_bundle

_Table = NDArray[np.uint8]


@dataclass(frozen=True)
class AuditRequest:
    """What `brainspade audit` is asked for.

    `against`: the slice set that the weights of a raw dataset were trained on; None for the codes that `weights` carry,
    which are opened as `open_bundle` does.
    """

    dataset: Path
    against: Path | None = None
    weights: str | None = None
    revision: str | None = None
    offline: bool = False


def audit(request: AuditRequest, reporter: Reporter) -> dict[str, Any]:
    """Hold every slice of a dataset against the training people, write the report, and return it as JSON data.

    "file" is added to it, which names where the report lies. Raises InputError and its kin for what cannot be read or
    compared, BrainspadeError where the disk does not play along.
    """
    made = open_raw(request.dataset, made_only=True)
    channels = made.dataset.header.channel_names
    if LABELS in channels:
        raise DatasetError(f"{made.dataset.header.folder}: a channel is called {LABELS!r}; give it another name.")
    table = label_table(made.names)
    kinds = [*([] if table is None else [LABELS]), *channels]
    folder = RawLayout(request.dataset, "").provenance
    with disk_errors(request.dataset):
        folder.mkdir(exist_ok=True)
    bench = _bench(request, kinds, reporter)
    with disk_errors(request.dataset):
        _remove_old(folder)
    scores = _scores(made, table, bench.judges, reporter)
    with disk_errors(request.dataset):
        report = _write(folder, kinds, made, table, bench, scores)
    return {**report, "file": str(folder / REPORT)}


def _remove_old(folder: Path) -> None:
    """Take an earlier audit away, its report first: that never tells of files that are gone."""
    (folder / REPORT).unlink(missing_ok=True)
    (folder / TABLE).unlink(missing_ok=True)
    for picture in (folder / PICTURES).glob("*.png"):
        picture.unlink()


def _write(
    folder: Path,
    kinds: Sequence[str],
    made: RawSlices,
    table: _Table | None,
    bench: _Bench,
    scores: Sequence[SliceScore],
) -> dict[str, Any]:
    """Write pictures, table and, last, the report, which is returned."""
    judges = bench.judges
    limit = limits({kind: judge.yardstick for kind, judge in judges.items()})
    copies = flagged(scores, limit)
    pictures = _pictures(folder / PICTURES, copies, made, table, bench.real)
    sections = {}
    for name, members in (("labels", [LABELS]), ("images", [kind for kind in judges if kind != LABELS])):
        measures = [judges[kind].yardstick for kind in members if kind in judges]
        own = [score for score in scores if score.kind in members]
        sections[name] = section(own, measures, limit[members[0]], pictures) if measures else None
    report = {
        "format": FORMAT,
        "brainspade": __version__,
        "dataset": made.dataset.header.folder.resolve().name,
        "pairs": len(made.cases),
        "against": {"name": bench.name, "what": "weights" if bench.real is None else "slices"},
        "verdict": "copies" if copies else "pass",
        "audited": list(judges),
        "not_audited": [kind for kind in (LABELS, *made.dataset.header.channel_names) if kind not in judges],
        **sections,
        "notes": [*notes.of_judges(kinds, judges), *bench.notes(limit), *notes.of_scores(scores)],
        "slices": TABLE,
    }
    write_table(folder / TABLE, scores, limit)
    write_json(folder / REPORT, report)
    return report


@dataclass(frozen=True)
class _Bench:
    """Who judges, called what, by which slices (None: by codes alone), and what is to be said of them."""

    name: str
    judges: Mapping[str, Judge]
    real: RealSlices | None
    notes: Callable[[Mapping[str, float]], Iterator[str]]


def _bench(request: AuditRequest, kinds: Sequence[str], reporter: Reporter) -> _Bench:
    if request.against is None:
        bundle = open_bundle(request.weights, request.revision, request.offline)
        on_record = check_weights(RawLayout(request.dataset, ""), bundle)
        judges = weights_judges(bundle, kinds)
        return _Bench(bundle.config.name, judges, None, partial(notes.of_weights, bundle, judges, on_record))
    if request.weights is not None:
        raise InputError("--against names slices and --weights codes to compare with; leave one of them out.")
    try:
        slices = open_slice_set(request.against)
    except SliceSetError as error:
        raise SliceSetError(f"{error} Without --against, codes that weights carry stand for slices.") from error
    real, trained = RealSlices(slices), trained_people(RawLayout(request.dataset, ""))
    people = people_judges(real, request.against, kinds, Descriptors(), reporter)
    told = partial(notes.of_people, people, trained, slices.person_names("train"))
    return _Bench(request.against.resolve().name, people, real, told)


def _scores(made: RawSlices, table: _Table | None, judges: Mapping[str, Judge], reporter: Reporter) -> list[SliceScore]:
    """Every slice of the dataset, read once, by every judge; case after case in the order of the dataset."""
    readers = made.source(len(made.cases)).readers
    cases = [case.name for case in made.cases]

    def judge_block(block: Sequence[int]) -> list[SliceScore]:
        cuts = [cuts_of(readers[place](), table) for place in block]
        names = [cases[place] for place in block]
        return [
            score
            for kind, judge in judges.items()
            for score in judge.score(names, fold_block([cut[kind] for cut in cuts]))
        ]

    scores: list[SliceScore] = []
    with Lanes() as lanes, reporter.progress("dataset", len(cases)) as advance:
        for found in lanes.in_order(judge_block, blocks(range(len(cases)))):
            scores += found
            advance(len(found) // len(judges))
    return scores


def _pictures(
    folder: Path, copies: Sequence[SliceScore], made: RawSlices, table: _Table | None, real: RealSlices | None
) -> dict[tuple[str, str], str]:
    """Write pictures of the clearest copies; their names by case and kind.

    They are numbered, for channels may have names that are no names of files.
    """
    readers = dict(zip((case.name for case in made.cases), made.source(len(made.cases)).readers, strict=True))
    names = {}
    for number, copy in enumerate(copies[:MOST_PICTURES], 1):
        if real is None or copy.origin is None or copy.overlay is None:
            break
        folder.mkdir(parents=True, exist_ok=True)
        item = readers[copy.case]()
        is_label = copy.kind == LABELS
        picture = table[item.label] if is_label and table is not None else item.images[copy.kind]
        name = f"{number:02d}.png"
        captions = (f"{copy.case} {copy.kind} {copy.training:.2f}", copy.origin.name)
        write_pair(folder / name, picture, real.read(copy.origin), copy.overlay, captions, is_label=is_label)
        names[copy.case, copy.kind] = name
    return names
