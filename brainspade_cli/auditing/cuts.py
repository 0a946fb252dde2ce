"""Slices of a slice set and of a raw dataset, cut out around their brains for comparison."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import NAMES, TISSUE_NAMES
from brainspade_cli.auditing.canonical import centred, label_picture
from brainspade_cli.auditing.pool import RealSlice
from brainspade_cli.evaluating.image_statistics import standardise
from brainspade_cli.evaluating.slice_source import Slice
from brainspade_cli.slices import SliceSet

LABELS = "labels"


def cut_label(label: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A label of this project's table (X, Y), cut out as `centred` does."""
    return centred(label_picture(label), label > 0)


def cut_image(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """An image (X, Y) in any units, cut out as `centred` does; outside the brain it has one value."""
    return centred(*standardise(image))


def cuts_of(item: Slice, table: NDArray[np.uint8] | None) -> Mapping[str, NDArray[np.float32]]:
    """A slice of a raw dataset, cut out: its label under `LABELS`, unless `table` is None, and its images by channel.

    table: channel of this project's label table for each id in the label.
    """
    found = {channel: cut_image(image) for channel, image in item.images.items()}
    return found if table is None else {LABELS: cut_label(table[item.label]), **found}


def label_table(names: tuple[str, ...]) -> NDArray[np.uint8] | None:
    """Channel of each class of a dataset, by name; None where its labels do not tell the tissues apart."""
    if not TISSUE_NAMES <= set(names) <= set(NAMES):
        return None
    return np.array([NAMES.index(name) for name in names], np.uint8)


class RealSlices:
    """The slices of a slice set, by where they come from."""

    def __init__(self, slices: SliceSet) -> None:
        self._slices = slices
        self._scans = {scan.name: scan for scan in slices.scans}

    def origins(self, split: str, kind: str) -> list[RealSlice]:
        """Every slice of a split that has a label (`LABELS`) or an image to hold a channel's against.

        A channel that nobody was scanned for is held against the images of all modalities.
        """
        known = {name for scan in self._slices.scans for name in scan.modalities}
        wanted = {LABELS} if kind == LABELS else {kind} & known or known
        return [
            RealSlice(scan.name, what, number, scan.person, height)
            for scan in self._slices.select(split=split)
            for what in (*((LABELS,) if scan.has_labels else ()), *scan.modalities)
            if what in wanted
            for number, height in enumerate(scan.positions)
        ]

    def read(self, origin: RealSlice) -> NDArray[np.generic]:
        """The label (X, Y) uint8, or the image (X, Y) z-scored. Raises SliceSetError."""
        scan = self._scans[origin.scan]
        if origin.what == LABELS:
            return self._slices.labels(scan)[origin.number].argmax(axis=0).astype(np.uint8)
        return np.asarray(self._slices.images(scan, origin.what)[origin.number], np.float32)

    def cut(self, origin: RealSlice) -> NDArray[np.float32]:
        """The same, cut out as `centred` does."""
        found = self.read(origin)
        return cut_label(found.astype(np.uint8)) if origin.what == LABELS else cut_image(found)
