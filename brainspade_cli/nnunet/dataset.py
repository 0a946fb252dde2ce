"""Reading an nnU-Net v2 raw dataset, this project's or anyone's, as nnU-Net itself would list it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainspade_cli.errors import DatasetError
from brainspade_cli.reading import read_json

IGNORE = "ignore"


@dataclass(frozen=True)
class RawCase:
    """One case: its images in the order of the channels, and its label."""

    name: str
    images: tuple[Path, ...]
    label: Path

    @property
    def missing(self) -> tuple[Path, ...]:
        """Files of the case that are not there."""
        # Path.is_file raises where a name is longer than any may be.
        return tuple(path for path in (*self.images, self.label) if not os.path.isfile(path))


@dataclass(frozen=True)
class RawHeader:
    """What dataset.json says, in a form that keeps to nnU-Net's rules.

    `labels`: name -> value, or -> values for a region; background is 0, values run 0, 1, 2, ... without a gap, and
    "ignore", where there is one, has the highest. `content`: everything in the file.
    """

    folder: Path
    file_ending: str
    channel_names: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]
    count: int
    content: Mapping[str, Any]

    @property
    def values(self) -> frozenset[int]:
        """Every value that a label may hold, the ignored one too."""
        return frozenset(
            value for entry in self.labels.values() for value in (entry if isinstance(entry, tuple) else (entry,))
        )

    @property
    def plain_labels(self) -> dict[str, int]:
        """The labels as name -> value; raises DatasetError where some of them are regions of several values."""
        regions = [name for name, entry in self.labels.items() if isinstance(entry, tuple)]
        if regions:
            raise DatasetError(
                f"{self.folder} defines regions ({', '.join(regions)}), which overlap; give each value a label instead."
            )
        return {name: entry for name, entry in self.labels.items() if isinstance(entry, int)}


@dataclass(frozen=True)
class RawDataset:
    """A raw dataset of which every case has all its files."""

    header: RawHeader
    cases: tuple[RawCase, ...]

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.header.folder


def read_dataset(folder: Path) -> RawDataset:
    """Read a raw dataset; raises DatasetError for a damaged dataset.json, missing files, or a wrong number of cases."""
    header = read_header(folder)
    cases = list_cases(header)
    for case in cases:
        if len(case.images) != len(header.channel_names):
            raise DatasetError(
                f"{folder}: case {case.name} has {len(case.images)} images for {len(header.channel_names)} channels."
            )
        if case.missing:
            raise DatasetError(f"{case.missing[0]} is missing; restore it, or let what made {folder} make it again.")
    if not cases:
        raise DatasetError(f"{folder} holds no cases.")
    if len(cases) != header.count:
        raise DatasetError(f"{folder}: dataset.json tells of {header.count} cases, but there are {len(cases)}.")
    return RawDataset(header, cases)


def read_header(folder: Path) -> RawHeader:
    """Read and validate dataset.json; raises DatasetError, saying what is wrong with it."""
    path = folder / "dataset.json"
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.is_dir():
            raise DatasetError(f"There is no folder {folder}; give one that `brainspade sample` made.") from error
        raise DatasetError(
            f"{folder} has no dataset.json, so it is no nnU-Net raw dataset, or one that is not finished yet;"
            " where a run was interrupted, give the same command again."
        ) from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds no JSON object.")
    missing = [key for key in ("labels", "channel_names", "numTraining", "file_ending") if key not in content]
    if missing:
        raise DatasetError(f"{path} lacks {', '.join(missing)}.")
    count, file_ending = content["numTraining"], content["file_ending"]
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise DatasetError(f"{path}: numTraining must be the number of cases, not {count!r}.")
    if not isinstance(file_ending, str) or not file_ending.startswith("."):
        raise DatasetError(f"{path}: file_ending must be like '.nii.gz', not {file_ending!r}.")
    return RawHeader(
        folder=folder,
        file_ending=file_ending,
        channel_names=_channel_names(path, content["channel_names"]),
        labels=_labels(path, content["labels"], content),
        count=count,
        content=content,
    )


def list_cases(header: RawHeader) -> tuple[RawCase, ...]:
    """Every case that nnU-Net would find, sorted by name, whole or not; raises DatasetError for a broken mapping.

    Without a `dataset` mapping in dataset.json, every file in imagesTr with the dataset's ending makes a case of the
    name that is left when five characters (_0000) are cut off, and its images are those called so with four digits.
    """
    if "dataset" in header.content:
        return _mapped_cases(header)
    folder, labels = header.folder / "imagesTr", header.folder / "labelsTr"
    pattern = re.compile(r"(.*)_\d{4}" + re.escape(header.file_ending), re.DOTALL)
    images: dict[str, list[Path]] = defaultdict(list)
    for name in file_names(folder, header.file_ending):
        case = name[: -len(header.file_ending) - 5]
        if pattern.fullmatch(name):
            images[case].append(folder / name)
        else:
            images[case].extend(())
    return tuple(
        RawCase(case, tuple(sorted(images[case])), labels / f"{case}{header.file_ending}") for case in sorted(images)
    )


def file_names(folder: Path, ending: str) -> list[str]:
    """Sorted names of the files in a folder that end so; an empty list where there is no such folder."""
    try:
        return sorted(
            entry.name for entry in os.scandir(folder) if entry.name.endswith(ending) and os.path.isfile(entry)
        )
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mapped_cases(header: RawHeader) -> tuple[RawCase, ...]:
    def resolve(entry: Any) -> Path:
        return header.folder / os.path.expandvars(entry)

    try:
        return tuple(
            RawCase(name, tuple(resolve(image) for image in entry["images"]), resolve(entry["label"]))
            for name, entry in sorted(header.content["dataset"].items())
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise DatasetError(
            f"{header.folder / 'dataset.json'}: 'dataset' must map each case to its 'images' and its 'label'."
        ) from error


def _channel_names(path: Path, names: Any) -> tuple[str, ...]:
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise DatasetError(f"{path}: channel_names must be like {{'0': 'flair'}}, not {names!r}.")
    if sorted(names) != sorted(str(channel) for channel in range(len(names))):
        raise DatasetError(f"{path}: channels must be numbered '0', '1', ..., not {', '.join(names)}.")
    return tuple(names[str(channel)] for channel in range(len(names)))


def _labels(path: Path, labels: Any, content: Mapping[str, Any]) -> dict[str, int | tuple[int, ...]]:
    if not isinstance(labels, dict):
        raise DatasetError(f"{path}: labels must map names to values, not {labels!r}.")
    if "background" not in labels and "0" in labels:
        raise DatasetError(f"{path}: labels must map names to values; this is the reversed form of nnU-Net v1.")
    found: dict[str, int | tuple[int, ...]] = {}
    for name, entry in labels.items():
        values = entry if isinstance(entry, list) else [entry]
        if not values or not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise DatasetError(f"{path}: label '{name}' must have a whole number, or a list of them, not {entry!r}.")
        found[name] = tuple(values) if len(values) > 1 else values[0]
    if found.get("background") != 0:
        raise DatasetError(f"{path}: there must be a label 'background' of value 0.")
    _check_values(path, found)
    if any(isinstance(entry, tuple) for entry in found.values()) and "regions_class_order" not in content:
        raise DatasetError(f"{path}: labels that are regions need a 'regions_class_order'.")
    return found


def _check_values(path: Path, labels: Mapping[str, int | tuple[int, ...]]) -> None:
    ignored = labels.get(IGNORE)
    if isinstance(ignored, tuple):
        raise DatasetError(f"{path}: 'ignore' must have one value.")
    values = set(_flat(entry for name, entry in labels.items() if name != IGNORE))
    if values != set(range(len(values))):
        raise DatasetError(f"{path}: label values must run 0, 1, 2, ... without a gap, not {sorted(values)}.")
    if ignored is not None and ignored != len(values):
        raise DatasetError(f"{path}: 'ignore' must have the highest value, {len(values)}, not {ignored}.")


def _flat(entries: Iterable[int | tuple[int, ...]]) -> list[int]:
    return [value for entry in entries for value in (entry if isinstance(entry, tuple) else (entry,))]
