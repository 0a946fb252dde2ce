"""Sample pictures of a training. They may show real people: they stay in the training folder and are never shipped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from brainspade_cli.pictures import colour_label, grey_of, upright


def label_rows(rows: Sequence[Tensor]) -> Image.Image:
    """A picture with one row for each batch of PV maps (B, 8, X, Y): their strongest label in its colour."""
    return _sheet([[_colours(maps) for maps in row] for row in rows])


def painting_rows(rows: Sequence[Tensor]) -> Image.Image:
    """A picture with one row for each tensor: PV maps (B, 8, X, Y) in colour, images (B, 1, X, Y) in grey."""
    return _sheet([[_colours(part) if len(part) > 1 else _greys(part[0]) for part in row] for row in rows])


def _colours(maps: Tensor) -> NDArray[np.uint8]:
    return upright(colour_label(maps.float().argmax(dim=0).cpu().numpy().astype(np.uint8)))


def _greys(image: Tensor) -> NDArray[np.uint8]:
    return upright(grey_of(image.float().cpu().numpy()))


def _sheet(rows: list[list[NDArray[np.uint8]]]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)))
