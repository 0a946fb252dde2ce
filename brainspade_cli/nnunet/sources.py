"""What goes into an export: the datasets, checked against one another, and the name that each case gets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import NAMES
from brainspade_cli.errors import DatasetError
from brainspade_cli.nnunet.dataset import IGNORE, RawCase, RawDataset, read_dataset
from brainspade_cli.nnunet.planes import NIFTI, PNG
from brainspade_cli.nnunet.raw import FILE_ENDINGS
from brainspade_cli.nnunet.tasks import Task, load_task

# File systems take 255 bytes; the prefix, the channel, the ending and the name while it is written need theirs.
MAX_NAME_BYTES = 150


@dataclass(frozen=True)
class Source:
    """One dataset of an export. `lookup`: its label values -> the task's. `prefix`: put before its case names."""

    dataset: RawDataset
    real: bool
    lookup: NDArray[np.uint8]
    by_number: bool = False
    prefix: str = ""

    @property
    def file_ending(self) -> str:
        """Ending of its files."""
        return self.dataset.header.file_ending

    def named_cases(self) -> Iterator[tuple[str, RawCase]]:
        """Its cases, each with the name that it gets."""
        for case in self.dataset.cases:
            yield self.prefix + case.name, case


@dataclass(frozen=True)
class Sources:
    """Every dataset of an export, synthetic ones first, with what they have in common."""

    parts: tuple[Source, ...]
    task: Task
    channel_names: tuple[str, ...]
    file_ending: str

    def named_cases(self, *, real: bool) -> list[str]:
        """Sorted names of the real, or of the synthetic, cases."""
        return sorted(name for part in self.parts if part.real == real for name, _ in part.named_cases())


def open_sources(datasets: Sequence[Path], real: Path | None, task: str, file_format: str | None) -> Sources:
    """Open the datasets of an export; raises DatasetError, saying what does not fit and what to do about it."""
    folders = [*datasets, *([real] if real else [])]
    if not datasets:
        raise DatasetError("Name at least one dataset that `brainspade sample` made.")
    if len({os.path.realpath(folder) for folder in folders}) < len(folders):
        raise DatasetError("One dataset is named twice; its cases would count double.")
    opened = [read_dataset(folder) for folder in folders]
    for dataset in opened:
        _check_names(dataset)
    made, authentic = opened[: len(datasets)], opened[len(datasets) :]
    chosen = load_task(task, [name for dataset in authentic for name in dataset.header.plain_labels])
    prefixes = case_prefixes(
        [[case.name for case in dataset.cases] for dataset in made],
        [dataset.folder.name.partition("_")[2] for dataset in made],
        [case.name for dataset in authentic for case in dataset.cases],
    )
    parts = [_synthetic_source(dataset, chosen, prefix) for dataset, prefix in zip(made, prefixes, strict=True)]
    parts += [_real_source(dataset, chosen) for dataset in authentic]
    for part in parts:
        _require_every_label(part, chosen)
    return Sources(tuple(parts), chosen, _common_channels(opened), _file_ending(parts, file_format))


def case_prefixes(synthetic: Sequence[Sequence[str]], names: Sequence[str], real: Sequence[str]) -> list[str]:
    """A prefix for each synthetic dataset's cases, so that all case names differ; real cases keep theirs.

    No prefix where none is needed, else the dataset's name where that is enough, else its number in the command.
    """
    numbers = [f"s{number}" for number in range(1, len(synthetic) + 1)]
    schemes = [[""] * len(synthetic), [f"{name}_" for name in names], [f"{number}_" for number in numbers]]
    while True:
        prefixes = schemes.pop(0)
        cases = [prefix + case for prefix, part in zip(prefixes, synthetic, strict=True) for case in part]
        if len({*cases, *real}) == len(cases) + len(real):
            return prefixes
        if not schemes:
            # Only a real case called like "s1_..." gets here; a longer prefix ends it.
            numbers = [f"s{number}" for number in numbers]
            schemes.append([f"{number}_" for number in numbers])


def _synthetic_source(dataset: RawDataset, task: Task, prefix: str) -> Source:
    labels = dataset.header.plain_labels
    foreign = [name for name in labels if name not in (*NAMES, IGNORE)]
    if foreign:
        raise DatasetError(
            f"{dataset.folder} has labels that are not in brainspade's table ({', '.join(foreign)}); name the dataset"
            " that `sample` made, and hand over real data with --real."
        )
    return Source(dataset, False, task.lookup(labels), prefix=prefix)


def _real_source(dataset: RawDataset, task: Task) -> Source:
    labels = dataset.header.plain_labels
    try:
        return Source(dataset, True, task.lookup(labels))
    except DatasetError as error:
        lookup = task.lookup_by_number(labels)
        if lookup is None:
            raise DatasetError(f"{dataset.folder} does not fit: {error}") from error
        return Source(dataset, True, lookup, by_number=True)


def _require_every_label(part: Source, task: Task) -> None:
    """Raise DatasetError where nothing becomes one of the task's labels: what was never drawn is no background."""
    labels = task.labels(with_ignore=False)
    missing = [name for name, value in labels.items() if value not in part.lookup]
    if missing:
        raise DatasetError(
            f"{part.dataset.folder} has nothing that becomes {', '.join(missing)}, so that such tissue would count as"
            f" background; choose another task, or, where the scans truly show none, declare it in its dataset.json."
        )


def _check_names(dataset: RawDataset) -> None:
    for case in dataset.cases:
        shown = case.name[:40].encode("unicode_escape").decode()
        if not case.name or case.name.startswith(".") or not case.name.isprintable() or set(case.name) & {"/", "\\"}:
            raise DatasetError(f"{dataset.folder} has a case called '{shown}', which cannot name a file.")
        if len(case.name.encode()) > MAX_NAME_BYTES:
            raise DatasetError(f"{dataset.folder} has a case called '{shown}...', which is too long to name a file.")


def _common_channels(datasets: Sequence[RawDataset]) -> tuple[str, ...]:
    first = datasets[0].header
    for dataset in datasets[1:]:
        names = dataset.header.channel_names
        if [name.casefold() for name in names] != [name.casefold() for name in first.channel_names]:
            raise DatasetError(
                f"{dataset.folder} has the channels {', '.join(names)}, {first.folder} has"
                f" {', '.join(first.channel_names)}; what is merged must have the same channels in the same order."
            )
    return first.channel_names


def _file_ending(parts: Sequence[Source], file_format: str | None) -> str:
    for part in parts:
        if part.file_ending not in (NIFTI, PNG):
            raise DatasetError(
                f"{part.dataset.folder} holds {part.file_ending} files; convert them to .nii.gz (or .png) first."
            )
    if file_format is not None and file_format not in FILE_ENDINGS:
        raise DatasetError(f"There is no format '{file_format}'; choose one of {', '.join(FILE_ENDINGS)}.")
    # Real data may be volumes, which have no other format: it decides, and the slices follow.
    real = next((part for part in parts if part.real), None)
    natural = (real or parts[0]).file_ending
    wanted = FILE_ENDINGS[file_format] if file_format else natural
    if real and wanted != natural:
        raise DatasetError(
            f"{real.dataset.folder} holds {natural} files, and real data keeps its format; leave --format out."
        )
    return wanted
