"""Slices as pixels for a person: label colours, grey windows, and which way is up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import BACKGROUND, LABELS, Label
from brainspade_cli.slices import BACKGROUND_VALUE

# Share of a label's colour over an image.
TINT = 0.45


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


def colour_label(label: NDArray[np.uint8], labels: Sequence[Label] = LABELS) -> NDArray[np.uint8]:
    """A label (X, Y) in the colours of a label table, (X, Y, 3)."""
    return np.array([entry.colour for entry in labels], np.uint8)[label]


def overlay(
    picture: NDArray[np.uint8], label: NDArray[np.uint8], labels: Sequence[Label] = LABELS
) -> NDArray[np.uint8]:
    """A picture (X, Y, 3) tinted with its label (X, Y), where that is not background."""
    mixed = (1 - TINT) * picture.astype(np.float32) + TINT * colour_label(label, labels)
    return np.where(label[..., None] == BACKGROUND, picture, mixed.round()).astype(np.uint8)
