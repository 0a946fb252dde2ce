"""Sample pictures of a training. They may show real people: they stay in the training folder and are never shipped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from brainspade_cli.anatomy import LABELS

# Intensities shown from black to white, in z-scores.
WINDOW = (-4.0, 4.0)


def label_rows(rows: Sequence[Tensor]) -> Image.Image:
    """A picture with one row for each batch of PV maps (B, 8, X, Y): their strongest label in its colour."""
    return _sheet([[colours(maps) for maps in row] for row in rows])


def painting_rows(rows: Sequence[Tensor]) -> Image.Image:
    """A picture with one row for each tensor: PV maps (B, 8, X, Y) in colour, images (B, 1, X, Y) in grey."""
    return _sheet([[colours(part) if len(part) > 1 else greys(part[0]) for part in row] for row in rows])


def colours(maps: Tensor) -> NDArray[np.uint8]:
    """RGB (Y, X, 3) of the strongest label of PV maps (8, X, Y), front of the head up."""
    table = np.array([label.colour for label in LABELS], dtype=np.uint8)
    return _upright(table[maps.float().argmax(dim=0).cpu().numpy()])


def greys(image: Tensor) -> NDArray[np.uint8]:
    """RGB (Y, X, 3) of a z-scored image (X, Y), windowed from -4 to 4, front of the head up."""
    low, high = WINDOW
    level = ((image.float().cpu().numpy() - low) / (high - low)).clip(0, 1) * 255
    return _upright(np.repeat(level.astype(np.uint8)[..., None], 3, axis=2))


def _upright(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels.transpose(1, 0, 2)[::-1]


def _sheet(rows: list[list[NDArray[np.uint8]]]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)))
