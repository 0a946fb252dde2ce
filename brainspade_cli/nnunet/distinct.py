"""The different values of an image of any size, found block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.nifti import BLOCK

# A label has at most 256; noise has as many as voxels, and nobody asks for them all.
MOST = 2**16


def distinct_values(blocks: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """The different values in ascending order, NaN last and once; of more than `MOST`, the lowest."""
    found: NDArray[Any] = np.empty(0)
    for number, block in enumerate(blocks):
        own = np.unique(block)
        found = (np.union1d(found, own) if number else own)[:MOST]
    return found


def blocks_of(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The values of an array, up to `BLOCK` at a time, whatever their order."""
    flat = values.ravel("K")
    return (flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK))
