"""On which side of a brain lesions lie: gliomas on one, nearly always."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import OEDEMA, TUMOUR
from brainspade_cli.geometry import DIAGONALS_TOO, GRID_ORIGIN

# A lesion whose middle lies within this many pixels of the midline lies on no side.
MIDLINE_PIXELS = 8


def across(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where lesions lie across the midline from the largest one, and apart from it, in a label (X, Y) of the grid."""
    lesions = (label == TUMOUR) | (label == OEDEMA)
    columns = np.flatnonzero(lesions.any(axis=1)) + GRID_ORIGIN[0]
    # Most labels have none on one of the sides, which is seen at a tenth of the time.
    if not len(columns) or columns[0] >= -MIDLINE_PIXELS or columns[-1] <= MIDLINE_PIXELS:
        return np.zeros(label.shape, bool)
    parts, count = ndimage.label(lesions, structure=DIAGONALS_TOO)
    if count < 2:
        return np.zeros(label.shape, bool)
    x, y = np.nonzero(parts)
    part = parts[x, y]
    sizes = np.bincount(part)
    # World x, which is 0 at the midline; part 0 is what is no lesion.
    middle = GRID_ORIGIN[0] + np.bincount(part, weights=x) / np.maximum(sizes, 1)
    side = np.where(np.abs(middle) > MIDLINE_PIXELS, np.sign(middle), 0)
    side[0] = 0
    opposite: NDArray[np.bool_] = (side * side[sizes.argmax()] < 0)[parts]
    return opposite
