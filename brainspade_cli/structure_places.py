"""Where in a brain the structures of a fixed place lie, of those people whom weights learnt from.

Counted in square cells of the slice's grid, apart for each bin of heights, and written as a row of hexadecimal digits a
bin: coarse enough to tell nothing of a person, fine enough to tell a brainstem from a temporal pole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BRAINSTEM, DEEP_GM, NAMES
from brainspade_cli.geometry import DIAGONALS_TOO, SLICE_SHAPE

# Cortex, white matter and CSF lie all over a brain.
STRUCTURES = (DEEP_GM, BRAINSTEM)
CELL_PIXELS = 8
CELLS = (SLICE_SHAPE[0] // CELL_PIXELS, SLICE_SHAPE[1] // CELL_PIXELS)
DIGITS = CELLS[0] * CELLS[1] // 4

# Rows of digits, one a bin of heights, by the structure's name; as `config.json` has them.
Places = Mapping[str, Sequence[str]]


def count_places(labels: Iterable[tuple[int, NDArray[np.uint8]]], bins: int) -> dict[str, tuple[str, ...]]:
    """The places of structures in labels (X, Y), each with its bin of heights, 0 to `bins` - 1.

    None for a structure that no label holds: nothing then says where it may lie.
    """
    seen = {structure: np.zeros((bins, *CELLS), bool) for structure in STRUCTURES}
    for height, label in labels:
        for structure, cells in seen.items():
            blocks = (label == structure).reshape(CELLS[0], CELL_PIXELS, CELLS[1], CELL_PIXELS)
            cells[height] |= blocks.any(axis=(1, 3))
    return {
        NAMES[structure]: tuple(np.packbits(row).tobytes().hex() for row in cells)
        for structure, cells in seen.items()
        if cells.any()
    }


def open_places(places: Places) -> dict[int, NDArray[np.bool_]]:
    """For each structure, where it may lie in a slice of each bin, (bins, X, Y): where it was seen there or a bin away.

    The other way round than `count_places`; rows are `DIGITS` hexadecimal digits each.
    """
    opened = {}
    for name, rows in places.items():
        seen = np.stack([np.unpackbits(np.frombuffer(bytes.fromhex(row), np.uint8)).reshape(CELLS) for row in rows])
        around = ndimage.maximum_filter1d(seen, 3, axis=0, mode="nearest").astype(bool)
        opened[NAMES.index(name)] = around.repeat(CELL_PIXELS, axis=1).repeat(CELL_PIXELS, axis=2)
    return opened


def misplaced(label: NDArray[np.uint8], structure: int, place: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pieces of a structure in a label (X, Y) that lie by more than half outside its place (X, Y)."""
    members = label == structure
    # Most labels have none outside, which is seen at a tenth of the time.
    if not (members & ~place).any():
        return np.zeros(label.shape, bool)
    parts, _ = ndimage.label(members, structure=DIAGONALS_TOO)
    sizes, inside = np.bincount(parts.ravel()), np.bincount(parts.ravel(), weights=place.ravel())
    outside = inside < sizes / 2
    outside[0] = False
    strays: NDArray[np.bool_] = outside[parts]
    return strays
