"""The slices of an nnU-Net raw dataset: one that `sample` or `export-nnunet` made, or a real one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.checked import number
from brainspade_cli.errors import DatasetError
from brainspade_cli.evaluating.slice_source import Slice, SliceSource, evenly
from brainspade_cli.nnunet.dataset import IGNORE, RawCase, RawDataset, read_dataset
from brainspade_cli.nnunet.planes import PNG, read_plane
from brainspade_cli.nnunet.provenance import read_manifest
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.preparing.volumes import read_maps
from brainspade_cli.styles.intensities import MAX_INTENSITY

_Row = Mapping[str, Any]


@dataclass(frozen=True)
class RawSlices:
    """A raw dataset with the manifest rows of its cases, those merged in from real data left out if `made_only`."""

    dataset: RawDataset
    rows: Mapping[str, _Row]
    cases: tuple[RawCase, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Classes by id."""
        labels = self.dataset.header.plain_labels
        return tuple(sorted((name for name in labels if name != IGNORE), key=lambda name: labels[name]))

    def source(self, most: int) -> SliceSource:
        """At most so many of its slices, spread evenly over it."""
        places = evenly(len(self.cases), most)
        channels = self.dataset.header.channel_names
        readers = [
            partial(_read, self.dataset, channels, self.names, case, self.rows.get(case.name, {}))
            for case in (self.cases[place] for place in places)
        ]
        return SliceSource(
            self.names, channels, readers, len(self.cases), (), f"{len(self.cases)} cases of {self.dataset.folder.name}"
        )


def open_raw(folder: Path, *, made_only: bool) -> RawSlices:
    """Open a raw dataset; raises DatasetError for one that is damaged, unfinished, or of no slices to look at.

    made_only: leave out the real cases that an export merged in.
    """
    dataset = read_dataset(folder)
    rows = read_manifest(folder)
    cases = tuple(case for case in dataset.cases if not (made_only and is_real(rows.get(case.name, {}))))
    if not cases:
        raise DatasetError(f"{folder} holds no synthetic cases.")
    return RawSlices(dataset, rows, cases)


def is_real(row: _Row) -> bool:
    """Whether a manifest row tells of a real case that was merged in."""
    came_from = row.get("came_from")
    return isinstance(came_from, dict) and bool(came_from.get("real"))


def _read(dataset: RawDataset, channels: tuple[str, ...], names: tuple[str, ...], case: RawCase, row: _Row) -> Slice:
    values, height = read_plane(case.label)
    ignored = dataset.header.plain_labels.get(IGNORE)
    label = np.where(values == ignored, 0, values) if ignored is not None else values
    if not np.isin(np.unique(label), np.arange(len(names))).all():
        raise DatasetError(f"{case.label} holds values that dataset.json does not declare.")
    images = {channel: read_plane(path)[0] for channel, path in zip(channels, case.images, strict=True)}
    for path, image in zip(case.images, images.values(), strict=True):
        # Not a number is not below anything.
        if image.shape != label.shape or not (np.abs(image) <= MAX_INTENSITY).all():
            raise DatasetError(
                f"{path} does not fit its label, or holds pixels that are no numbers, or beyond {MAX_INTENSITY:g}."
            )
    return Slice(
        label=label.astype(np.uint8),
        maps=_maps(dataset, case, len(names), label),
        images=images,
        height=_height(row, height, case.label),
        person=str(row.get("origin") or "").partition(" slice ")[0],
        styles=_styles(row),
    )


def _height(row: _Row, stored: float, path: Path) -> float | None:
    if "position_mm" in row:
        return number(row["position_mm"])
    # A picture without a note of its height reads as 0, as does one that lies there.
    return None if path.name.endswith(PNG) and stored == 0 else stored


def _styles(row: _Row) -> dict[str, str]:
    styles = row.get("styles")
    entries = styles if isinstance(styles, list) else []
    return {str(item.get("channel")): str(item.get("sha256")) for item in entries if isinstance(item, dict)}


def _maps(dataset: RawDataset, case: RawCase, classes: int, label: NDArray[Any]) -> NDArray[np.float32] | None:
    """PV maps (classes, X, Y) of a case where the run kept them."""
    path = RawLayout(dataset.folder, dataset.header.file_ending).provenance / "pv" / f"{case.name}.nii.gz"
    if not path.is_file():
        return None
    stored, _ = read_maps(path)
    if stored.shape != (*label.shape, 1, classes):
        raise DatasetError(f"{path} holds no PV maps of {case.label.name}; delete it, or make the pair again.")
    return np.ascontiguousarray(np.moveaxis(stored[:, :, 0], -1, 0), np.float32)
