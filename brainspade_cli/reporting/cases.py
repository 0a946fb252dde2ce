"""The slices that a report looks at: some of a dataset's made cases, spread evenly over it, ready to be shown."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import LABELS, LESION_NAMES, TUMOUR, Label
from brainspade_cli.checked import tables, text
from brainspade_cli.errors import InputError
from brainspade_cli.evaluating.image_statistics import standardise
from brainspade_cli.evaluating.read_raw import RawSlices
from brainspade_cli.evaluating.slice_source import Slice, evenly
from brainspade_cli.files import sha256
from brainspade_cli.sampling.preview import case_caption
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.scan import load_style

# The labels of a lesion, and what some tasks call it.
ALL_LESION_NAMES = LESION_NAMES | {"whole_tumour", "tumor", "lesion", "wmh"}


@dataclass(frozen=True)
class ShownCase:
    """A case to be shown: its manifest row (empty where there is none) and its slice.

    `images`: by channel, z-scored float32 (X, Y), `BACKGROUND_VALUE` outside the brain. `styles`: by channel, the
    slice of the style scan that it was painted after, likewise, where that scan was handed over.
    """

    name: str
    row: Mapping[str, Any]
    label: NDArray[np.uint8]
    height: float | None
    images: Mapping[str, NDArray[np.float32]]
    styles: Mapping[str, NDArray[np.float32]]

    @property
    def caption(self) -> str:
        """Its name, and what is to be known of it."""
        return case_caption(self.name, self.height, self.row)


def shown_cases(found: RawSlices, most: int, styles: Mapping[str, NDArray[np.float32]]) -> Iterator[ShownCase]:
    """Read up to `most` cases of a dataset, one at a time; `styles`: slices of style scans by the scans' SHA-256."""
    readers = found.source(most).readers
    for place, reader in zip(evenly(len(found.cases), most), readers, strict=True):
        case = found.cases[place]
        row = found.rows.get(case.name, {})
        part = reader()
        images = {channel: _scored(image) for channel, image in part.images.items()}
        yield ShownCase(case.name, row, part.label, part.height, images, _style_slices(row, part, styles))


def style_slices(paths: Sequence[Path]) -> dict[str, NDArray[np.float32]]:
    """Slices (S, 192, 256) of style scans, by the SHA-256 of their files; raises InputError for what is no scan."""
    for path in paths:
        if not path.is_file():
            raise InputError(f"There is no style scan {path}.")
    return {sha256(path): load_style(path).slices for path in paths}


def label_table(names: Sequence[str]) -> tuple[Label, ...]:
    """A dataset's labels by id, in the colours of the label table where the names are its own."""
    known = dict.fromkeys(ALL_LESION_NAMES, LABELS[TUMOUR].colour) | {label.name: label.colour for label in LABELS}
    return tuple(Label(value, name, known.get(name) or _colour(value, len(names))) for value, name in enumerate(names))


def _colour(value: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(value / count, 0.6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _scored(image: NDArray[Any]) -> NDArray[np.float32]:
    scored, brain = standardise(image)
    return np.where(brain, np.maximum(scored, BACKGROUND_VALUE + 0.1), np.float32(BACKGROUND_VALUE)).astype(np.float32)


def _style_slices(
    row: Mapping[str, Any], part: Slice, styles: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    places = {text(entry.get("channel")): entry.get("slice") for entry in tables(row.get("styles"))}
    shown = {}
    for channel, digest in part.styles.items():
        place, slices = places.get(channel), styles.get(digest)
        if slices is not None and type(place) is int and 0 <= place < len(slices):
            shown[channel] = slices[place]
    return shown
