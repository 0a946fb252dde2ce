"""Merging datasets into one for nnU-Net: tasks, formats, real scans beside synthetic ones (the paper's hybrid), splits.

The order of writing is what makes it safe: marker, cases, manifest, splits, cards, dataset.json. Killed at any moment,
the same command goes on; without dataset.json nnU-Net does not take the folder for a dataset.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainspade_cli import __version__
from brainspade_cli.console import Reporter
from brainspade_cli.errors import DatasetError
from brainspade_cli.files import disk_errors, remove_partials, sha256, write_json
from brainspade_cli.locks import alone
from brainspade_cli.nnunet.check import require_sound
from brainspade_cli.nnunet.copying import copy_cases
from brainspade_cli.nnunet.provenance import (
    begin_export,
    drawing_mark,
    file_mark,
    label_marks,
    named_origin,
    read_manifest,
    style_marks,
    write_manifest,
)
from brainspade_cli.nnunet.raw import (
    PREPROCESSED_VARIABLE,
    RawLayout,
    check_channel_names,
    dataset_folder,
    plan_command,
    refuse_shared_id,
    write_dataset_json,
)
from brainspade_cli.nnunet.sources import Sources, open_sources
from brainspade_cli.nnunet.splits import Split, hybrid_splits, read_splits, synthetic_splits
from brainspade_cli.reporting.facts import RUNS_FILE, DatasetFacts, RowCounts, dataset_runs
from brainspade_cli.reporting.write_cards import write_cards


def export(
    datasets: Sequence[Path],
    out: Path | None,
    dataset_id: int,
    name: str,
    task: str = "all",
    real: Path | None = None,
    splits: bool = False,
    file_format: str | None = None,
    check: bool = False,
    *,
    reporter: Reporter,
) -> dict[str, Any]:
    """Write `out`/Dataset501_name from one or more datasets that `sample` made; returns a summary as JSON data.

    out: the folder of raw datasets; None for $nnUNet_raw, or ./nnUNet_raw.
    task: "all", "tissues", "tumour", or a JSON file (see `tasks`). file_format: "nifti", "png", or None to keep it.
    real: a real nnU-Net raw dataset to merge in, slices or volumes, whose labels fit the task by name or number; its
    imagesTs (and labelsTs) come along, for the test set has to be real. splits: also write splits_final.json.
    check: also check the result. PV maps that `sample` saved stay where they are.
    Raises DatasetError for anything that does not fit, CheckFailed where the check finds problems.
    """
    folder = dataset_folder(dataset_id, name, out)
    refuse_shared_id(folder, lambda free: f"--id {free}")
    sources = open_sources(datasets, real, task, file_format)
    check_channel_names(sources.channel_names)
    if folder.resolve() in {part.dataset.folder.resolve() for part in sources.parts}:
        raise DatasetError(f"{folder} is one of the datasets to be merged; choose another id or name.")
    folds = _folds(sources, reporter) if splits else []
    places = _splits_places(folder, folds) if splits else []
    record = _record(sources, splits)
    for part in sources.parts:
        if part.by_number:
            reporter.warn(f"{part.dataset.folder} names its labels otherwise than the task; they are taken by number.")
    busy = DatasetError(f"Another export is at work on {folder}; wait for it, or choose another id or name.")
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, which is not to be touched before it is known to be ours.
        with alone(folder.with_name(f".{folder.name}.at-work"), busy):
            labels = _write(RawLayout(folder, sources.file_ending), sources, record, places, folds, reporter)
    synthetic, authentic = sources.named_cases(real=False), sources.named_cases(real=True)
    _say_validation(folder, bool(authentic), places, reporter)
    if check:
        require_sound(folder, reporter)
    return {
        "folder": str(folder),
        "cases": len(synthetic) + len(authentic),
        "synthetic": len(synthetic),
        "real": len(authentic),
        "labels": labels,
        "channels": list(sources.channel_names),
        "file_ending": sources.file_ending,
        "folds": len(folds),
        "splits": [str(place) for place in places],
        "checked": check,
        "next": plan_command(folder, dataset_id),
    }


def _write(
    layout: RawLayout,
    sources: Sources,
    record: dict[str, Any],
    places: Sequence[Path],
    folds: list[Split],
    reporter: Reporter,
) -> dict[str, int]:
    """Write the export, dataset.json last; returns its labels."""
    begin_export(layout, record)
    labels = sources.task.labels(with_ignore=copy_cases(layout, sources, reporter))
    rows = _manifest(layout, sources)
    write_manifest(layout, rows)
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_partials(place.parent)
        write_json(place, folds)
    facts = _facts(layout, sources, labels, rows)
    write_json(layout.provenance / RUNS_FILE, [run.to_json() for run in facts.runs])
    write_cards(layout.folder, facts)
    write_dataset_json(
        layout.folder,
        labels,
        sources.channel_names,
        sum(len(sources.named_cases(real=real)) for real in (False, True)),
        sources.file_ending,
        brainspade={"version": __version__, **record},
    )
    layout.remove_temporaries()
    return labels


def _folds(sources: Sources, reporter: Reporter) -> list[Split]:
    real = {*sources.named_cases(real=True)}
    owners: dict[str, set[str]] = defaultdict(set)
    for part in (part for part in sources.parts if part.real):
        for name, case in part.named_cases():
            owners[file_mark(case.label)].add(name)
    by_label: dict[str, list[str]] = {}
    by_label_and_style: dict[str, list[str]] = {}
    # The label of a validation case, painted in another style, is no stranger to it.
    painted: dict[str, set[str]] = {}
    strangers = 0
    for part in (part for part in sources.parts if not part.real):
        rows, drawing = read_manifest(part.dataset.folder), drawing_mark(part.dataset.folder)
        for name, case in part.named_cases():
            row = rows.get(case.name, {})
            marks = [file_mark(case.label), *label_marks(row, drawing)]
            by_label[name], by_label_and_style[name] = marks, [*marks, *style_marks(row)]
            called = named_origin(row)
            painted[name] = real.intersection([called]).union(*(owners.get(mark, ()) for mark in marks))
            strangers += called is not None and not painted[name]
    if not real:
        return synthetic_splits([by_label_and_style, by_label])
    if strangers:
        reporter.warn(
            f"{strangers} synthetic cases were painted on given labels that are of no case of"
            f" {sources.parts[-1].dataset.folder} by name or content, and train in every fold: see that they are of"
            " nobody who validates."
        )
    return hybrid_splits(sorted(real), painted)


def _splits_places(folder: Path, folds: list[Split]) -> list[Path]:
    """Where splits_final.json goes: the dataset's folder, and the preprocessed one where nnU-Net's variable names it.

    Raises DatasetError where other splits lie there already: trainings may depend on them, and nnU-Net, which copies
    the first to the second when it plans, stops without a word where the two differ.
    """
    places = [folder / "splits_final.json"]
    preprocessed = os.environ.get(PREPROCESSED_VARIABLE)
    if preprocessed:
        place = Path(preprocessed) / folder.name / "splits_final.json"
        if place.exists() and read_splits(place) != folds:
            raise DatasetError(f"{place} holds the splits of an earlier dataset; delete it or choose another id.")
        places.append(place)
    return places


def _say_validation(folder: Path, hybrid: bool, places: Sequence[Path], reporter: Reporter) -> None:
    if hybrid and not places:
        reporter.say("Without --splits, nnU-Net will draw synthetic cases for validation as well as real ones.")
    elif places and not hybrid:
        reporter.say("Every case is synthetic, so validation is too: its Dice says that training works, and no more.")
    if len(places) == 1:
        reporter.say(
            f"nnU-Net 2.8 finds {places[0].name} by itself when it plans; for an older one, copy it to"
            f" ${PREPROCESSED_VARIABLE}/{folder.name}/ before training."
        )


def _record(sources: Sources, splits: bool) -> dict[str, Any]:
    """Everything that decides what an export holds."""
    return {
        "task": {
            "name": sources.task.name,
            "labels": {name: list(members) for name, members in sources.task.groups.items()},
            "ignored": list(sources.task.ignored),
            "background": list(sources.task.background),
        },
        "file_ending": sources.file_ending,
        "splits": splits,
        "sources": [
            {
                "dataset": part.dataset.folder.name,
                "real": part.real,
                "cases": len(part.dataset.cases),
                "prefix": part.prefix,
                "dataset_json_sha256": sha256(part.dataset.folder / "dataset.json"),
            }
            for part in sources.parts
        ],
    }


def _facts(
    layout: RawLayout, sources: Sources, labels: dict[str, int], rows: Sequence[Mapping[str, Any]]
) -> DatasetFacts:
    counts = RowCounts()
    for row in rows:
        counts.add(row)
    made = [part.dataset.folder for part in sources.parts if not part.real]
    return DatasetFacts(
        name=layout.folder.name,
        file_ending=layout.file_ending,
        channels=sources.channel_names,
        labels=labels,
        cases=len(rows),
        real=len(sources.named_cases(real=True)),
        lesions=counts.lesions,
        columns=counts.columns,
        pv=False,
        runs=tuple(run for folder in made for run in dataset_runs(folder)),
    )


def _manifest(layout: RawLayout, sources: Sources) -> list[dict[str, Any]]:
    """One row a case: its name and files, the dataset and name it came from, and what that dataset's manifest says."""
    channels = len(sources.channel_names)
    rows = []
    for part in sources.parts:
        known = read_manifest(part.dataset.folder)
        for name, case in part.named_cases():
            row = {**known.get(case.name, {}), "case": name}
            row["came_from"] = {"dataset": part.dataset.folder.name, "case": case.name, "real": part.real}
            row["files"] = [path.relative_to(layout.folder).as_posix() for path in layout.case_paths(name, channels)]
            rows.append(row)
    return rows
