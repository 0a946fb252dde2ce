"""Contact sheets of a slice set: every scan once, its label maps over its images, to be looked at by a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brainspade_cli.files import replacing
from brainspade_cli.pictures import colours_of, grey_of, upright
from brainspade_cli.slices import ScanRecord, SliceSet

SLICES_PER_SCAN = 6
SCANS_PER_SHEET = 8


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
