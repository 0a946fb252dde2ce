"""Where the files of an nnU-Net v2 raw dataset lie, and how one slice is written into it.

    Dataset501_brainspade/dataset.json                written last: a folder without it is not a dataset yet
    Dataset501_brainspade/imagesTr/CASE_0000.nii.gz   one file a channel
    Dataset501_brainspade/labelsTr/CASE.nii.gz        written after the images: a case with a label is whole

Every file is written under a temporary name, forced to disk and renamed, so that a process killed at any moment, and a
power cut, leave whole files only: no name without its contents. The temporary name does not end like an image, because
nnU-Net takes every file in the folder that does, hidden or not, for a case. Forcing a file to disk takes from 0.3 ms to
tens of milliseconds, by disk and by what else is written there, so cases are best written by several threads. What a
power cut may take are the names of the last seconds, and a missing file is made again; `flush_names`, which belongs
before the step that calls a dataset whole, forces these to disk too.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import DatasetError
from brainspade_cli.files import remove_partials, write_json
from brainspade_cli.nnunet.planes import NIFTI, PNG, encode_plane, write_whole

PREPROCESSED_VARIABLE = "nnUNet_preprocessed"
# The reader is named in dataset.json, so that nnU-Net does not guess it from the ending.
READERS: Mapping[str, str] = {NIFTI: "SimpleITKIO", PNG: "NaturalImage2DIO"}
FILE_ENDINGS: Mapping[str, str] = {"nifti": NIFTI, "png": PNG}
# nnU-Net's own variable, and the folder that serves where it is not set.
RAW_VARIABLE = "nnUNet_raw"
# A channel of one of these names makes nnU-Net normalise it otherwise than by z-score; "zscore" would be harmless, but
# is no name of a contrast either. Compared without case, as nnU-Net does.
RESERVED_CHANNELS = frozenset({"ct", "nonorm", "zscore", "rescale_to_0_1", "rgb_to_0_1"})
MAX_CHANNELS = 10_000
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DATASET = re.compile(r"Dataset(\d{3})_[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class RawLayout:
    """The paths of one raw dataset. `file_ending` is ".nii.gz" or ".png"."""

    folder: Path
    file_ending: str

    @property
    def header(self) -> Path:
        """dataset.json."""
        return self.folder / "dataset.json"

    @property
    def images(self) -> Path:
        """Folder of the training images."""
        return self.folder / "imagesTr"

    @property
    def labels(self) -> Path:
        """Folder of the training labels."""
        return self.folder / "labelsTr"

    @property
    def provenance(self) -> Path:
        """Folder of what nnU-Net does not read: run.json, manifests, previews, PV maps."""
        return self.folder / "brainspade"

    def image_path(self, case: str, channel: int) -> Path:
        """Image of one channel (0, 1, ...) of a case."""
        return self.images / f"{case}_{channel:04d}{self.file_ending}"

    def label_path(self, case: str) -> Path:
        """Label of a case."""
        return self.labels / f"{case}{self.file_ending}"

    def case_paths(self, case: str, channels: int) -> tuple[Path, ...]:
        """Every file of a case, its label last."""
        return (*(self.image_path(case, channel) for channel in range(channels)), self.label_path(case))

    def create(self) -> None:
        """Make the folders; those that are there already stay as they are."""
        for folder in (self.images, self.labels, self.provenance):
            folder.mkdir(parents=True, exist_ok=True)

    def remove_temporaries(self) -> None:
        """Delete what killed processes left half-written. Only for when nothing else writes into the dataset."""
        for folder in (self.folder, *(path for path in self.folder.iterdir() if path.is_dir())):
            remove_partials(folder)


def dataset_folder(dataset_id: int, name: str, parent: Path | None = None) -> Path:
    """`parent`/Dataset501_name; `parent` defaults to $nnUNet_raw, or ./nnUNet_raw where that is not set.

    Raises DatasetError for an id outside 1..999 or a name with anything but letters, digits, "-" and "_".
    """
    if not 1 <= dataset_id <= 999:
        raise DatasetError(f"nnU-Net numbers datasets from 1 to 999; {dataset_id} is not one of these.")
    folder = f"Dataset{dataset_id:03d}_{name}"
    if not _DATASET.fullmatch(folder):
        raise DatasetError(f"'{name}' cannot name a dataset; use letters, digits, '-' and '_' only.")
    if parent is None:
        parent = Path(os.environ.get(RAW_VARIABLE) or RAW_VARIABLE)
    return parent / folder


def refuse_shared_id(folder: Path, remedy: Callable[[int], str]) -> None:
    """Raise DatasetError where another dataset beside `folder` has its id: nnU-Net would then refuse both.

    `remedy` tells what to type for an id that is free.
    """
    if (number := dataset_number(folder)) is None:
        return
    others = [name for name in datasets_of_number(folder.parent, number) if name != folder.name]
    if others:
        raise DatasetError(
            f"{folder.parent} already has a dataset of number {number}, {others[0]}, and nnU-Net would read neither; "
            f"choose another number, as in {remedy(free_number(folder.parent))}."
        )


def datasets_of_number(parent: Path, number: int) -> list[str]:
    """Names of the datasets in `parent` whose id is `number`, sorted; none where there is no such folder."""
    return sorted(path.name for path in parent.glob(f"Dataset{number:03d}_*") if path.is_dir())


def free_number(parent: Path) -> int:
    """The first id from 501 on that no dataset in `parent` has; 501 where there is none left."""
    return next((number for number in range(501, 1000) if not datasets_of_number(parent, number)), 501)


def dataset_number(folder: Path) -> int | None:
    """nnU-Net's number of a dataset; None where the folder is not called as nnU-Net wants it, like Dataset501_name."""
    match = _DATASET.fullmatch(folder.name)
    return int(match[1]) or None if match else None


def write_case(
    layout: RawLayout, case: str, images: NDArray[np.int16], label: NDArray[np.uint8], z_mm: float = 0.0
) -> None:
    """Write one slice: its images first, its label last, each in one step.

    images: int16 (channels, X, Y), 0 outside the brain and nowhere negative. label: uint8 (X, Y), on the same pixels.
    z_mm: height of the slice in RAS millimetres (MNI152 z where the style scan was aligned).
    Raises ValueError for arrays or case names that do not keep to this, OSError where the disk does not play along.
    """
    if not _CASE.fullmatch(case):
        raise ValueError(f"'{case}' cannot name a case")
    if images.dtype != np.int16 or images.ndim != 3 or not 1 <= len(images) <= MAX_CHANNELS or images.min() < 0:
        raise ValueError(
            f"images must be int16 (channels, X, Y) and nowhere negative, not {images.dtype} {images.shape}"
        )
    if label.dtype != np.uint8 or label.shape != images.shape[1:]:
        raise ValueError(f"the label must be uint8 {images.shape[1:]}, not {label.dtype} {label.shape}")
    for channel, image in enumerate(images):
        write_whole(layout.image_path(case, channel), encode_plane(image, z_mm, layout.file_ending))
    write_whole(layout.label_path(case), encode_plane(label, z_mm, layout.file_ending))


def flush_names(layout: RawLayout) -> None:
    """Force the names of all training cases to disk, as `write_case` forces their contents."""
    if os.name != "posix":
        return
    for folder in (layout.images, layout.labels):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_dataset_json(
    folder: Path,
    labels: Mapping[str, int],
    channel_names: tuple[str, ...],
    count: int,
    file_ending: str,
    **provenance: Any,
) -> None:
    """Write dataset.json, which makes the folder a dataset: every one of its `count` cases must be in place by then.

    `provenance` becomes further keys, which nnU-Net leaves alone.
    Raises DatasetError for a channel name that means a normalisation to nnU-Net, and for labels that are not 0, 1, ...
    """
    check_channel_names(channel_names)
    if labels.get("background") != 0 or sorted(labels.values()) != list(range(len(labels))):
        raise DatasetError(f"nnU-Net wants labels 0, 1, 2, ... with background at 0, not {dict(labels)}.")
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {str(channel): name for channel, name in enumerate(channel_names)},
            "labels": dict(labels),
            "numTraining": count,
            "file_ending": file_ending,
            "overwrite_image_reader_writer": READERS[file_ending],
            **provenance,
        },
    )


def check_channel_names(names: tuple[str, ...]) -> None:
    """Raise DatasetError where a channel name is empty, double, or one that changes how nnU-Net normalises."""
    if not names:
        raise DatasetError("A dataset needs at least one channel.")
    for name in names:
        if not name or name.casefold() in RESERVED_CHANNELS:
            raise DatasetError(
                f"'{name}' cannot name a channel: nnU-Net would take it for a kind of normalisation; call it otherwise."
            )
    if len(set(names)) < len(names):
        raise DatasetError(f"Two channels have the same name: {', '.join(names)}; give each its own.")


def plan_command(folder: Path, number: int) -> str:
    """The command by which nnU-Net plans and preprocesses a dataset.

    It does so where `nnUNet_preprocessed` says, else into a folder beside that of the raw ones.
    """
    raw = folder.resolve().parent
    preprocessed = os.environ.get(PREPROCESSED_VARIABLE) or raw.parent / "nnUNet_preprocessed"
    places = {"nnUNet_raw": raw, PREPROCESSED_VARIABLE: preprocessed}
    words = [f"{name}={shlex.quote(str(place))}" for name, place in places.items()]
    return " ".join([*words, f"nnUNetv2_plan_and_preprocess -d {number} -c 2d --verify_dataset_integrity"])
