"""Where in a brain the structures of a fixed place lie, of those people whom weights learnt from.

Counted in square cells of the slice's grid, apart for each bin of heights, and written as a row of hexadecimal digits a
bin: coarse enough to tell no person, fine enough to tell a brainstem from a temporal pole.
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
# Of a height at which fewer people have slices nothing is told: a structure may lie anywhere.
FEWEST_PEOPLE = 5

# Rows of digits, one a bin of heights, by the structure's name; as `config.json` has them. A structure without rows may
# lie anywhere.
Places = Mapping[str, Sequence[str]]


def count_places(labels: Iterable[tuple[int, int, NDArray[np.uint8]]], bins: int) -> dict[str, tuple[str, ...]]:
    """The places of structures in labels (X, Y), each with its bin of heights, 0 to `bins` - 1, and a person's number.

    Counted in each label and in its mirror image, for denoisers learn from both. No rows for a structure that no label
    holds: nothing then says where it may lie.
    """
    seen = {structure: np.zeros((bins, *CELLS), bool) for structure in STRUCTURES}
    people: list[set[int]] = [set() for _ in range(bins)]
    for height, person, label in labels:
        people[height].add(person)
        for structure, cells in seen.items():
            blocks = (label == structure).reshape(CELLS[0], CELL_PIXELS, CELLS[1], CELL_PIXELS).any(axis=(1, 3))
            cells[height] |= blocks | blocks[::-1]
    few = [len(some) < FEWEST_PEOPLE for some in people]
    return {
        NAMES[structure]: tuple(np.packbits(row).tobytes().hex() for row in cells | np.array(few)[:, None, None])
        for structure, cells in seen.items()
        if cells.any()
    }


def join_places(places: Places, earlier: Places) -> dict[str, tuple[str, ...]]:
    """Places of the people whom weights learnt from and of those whom they had learnt from before.

    Only structures that both know: where nothing was told before, the weights may have learnt any place.
    """
    return {
        name: tuple(
            f"{int(row, 16) | int(before, 16):0{DIGITS}x}" for row, before in zip(rows, earlier[name], strict=True)
        )
        for name, rows in places.items()
        if name in earlier and len(earlier[name]) == len(rows)
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


def misplaced(label: NDArray[np.uint8], places: Mapping[int, NDArray[np.bool_]], height: int) -> NDArray[np.bool_]:
    """Pieces of structures in a label (X, Y) that lie by more than half outside their place in the bin `height`."""
    strays = np.zeros(label.shape, bool)
    for structure, place in places.items():
        members = label == structure
        # Most labels have none outside, which is seen at a tenth of the time.
        if (members & ~place[height]).any():
            parts, _ = ndimage.label(members, structure=DIAGONALS_TOO)
            sizes, inside = np.bincount(parts.ravel()), np.bincount(parts.ravel(), weights=place[height].ravel())
            outside = inside < sizes / 2
            outside[0] = False
            strays |= outside[parts]
    return strays
