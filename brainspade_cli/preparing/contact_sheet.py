"""Contact sheets of a slice set: every scan once, its label maps over its images, to be looked at by a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brainspade_cli.anatomy import LABELS
from brainspade_cli.files import replacing
from brainspade_cli.slices import BACKGROUND_VALUE, ScanRecord, SliceSet

SLICES_PER_SCAN = 6
SCANS_PER_SHEET = 8


def colours_of(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PV maps (channels, X, Y), sum 255, as an RGB picture (X, Y, 3): the channels' colours mixed by their share."""
    table = np.array([label.colour for label in LABELS], np.float32)
    return np.tensordot(maps.astype(np.float32) / 255.0, table, axes=(0, 0)).round().astype(np.uint8)


def grey_of(image: NDArray[np.float32] | NDArray[np.float16]) -> NDArray[np.uint8]:
    """A z-scored slice (X, Y) as an RGB picture (X, Y, 3): `BACKGROUND_VALUE` black, +4 white."""
    span = np.clip((np.asarray(image, np.float32) - BACKGROUND_VALUE) / 8.0, 0, 1)
    return np.repeat((span * 255).astype(np.uint8)[..., None], 3, axis=2)


def upright(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(X, Y, 3) in RAS order as rows and columns for viewing: anterior up, the patient's left at the left."""
    return picture.transpose(1, 0, 2)[::-1]


def write_contact_sheets(slices: SliceSet, folder: Path) -> list[Path]:
    """Write contact-sheet-NN.png files into `folder`, `SCANS_PER_SHEET` scans each; returns their paths."""
    for old in folder.glob("contact-sheet-*.png"):
        old.unlink()
    paths = []
    for number, start in enumerate(range(0, len(slices.scans), SCANS_PER_SHEET), start=1):
        strips = [_strip(slices, scan) for scan in slices.scans[start : start + SCANS_PER_SHEET]]
        width = max(strip.shape[1] for strip in strips)
        padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips]
        path = folder / f"contact-sheet-{number:02d}.png"
        with replacing(path) as temporary:
            Image.fromarray(np.concatenate(padded)).save(temporary, format="PNG")
        paths.append(path)
    return paths


def _strip(slices: SliceSet, scan: ScanRecord) -> NDArray[np.uint8]:
    picks = np.linspace(0, scan.slices - 1, SLICES_PER_SCAN + 2).round().astype(int)[1:-1]
    rows = []
    if scan.has_labels:
        labels = slices.labels(scan)
        rows.append(np.concatenate([upright(colours_of(labels[k])) for k in picks], axis=1))
    for modality in scan.modalities:
        images = slices.images(scan, modality)
        rows.append(np.concatenate([upright(grey_of(images[k])) for k in picks], axis=1))
    strip = Image.fromarray(np.concatenate(rows)[::2, ::2])
    ImageDraw.Draw(strip).text((4, 4), f"{scan.name} ({scan.split}, {scan.population})", fill=(255, 255, 255))
    return np.asarray(strip)
