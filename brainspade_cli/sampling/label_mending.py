"""What a drawn label gets wrong at its seams with the background, put right in place; a label (X, Y) and its PV maps.

`maps` are bytes (8, X, Y) that sum to 255, `label` (X, Y) their argmax, uint8 both, and stay so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CSF, TUMOUR
from brainspade_cli.sampling.label_checks import crumbs, holes

# Partial volumes of brain and background are two pixels wide: further in, one pixel in a hundred of OASIS and BraTS has
# a tenth of background or more. Maps that leave vessels out have more of these, and so have labels that are drawn; the
# painter, which was shown no image of such maps, makes dark specks and rings there.
OUTLINE_PIXELS = 2


def drop_crumbs(maps: NDArray[np.uint8], label: NDArray[np.uint8]) -> bool:
    """Make background of crumbs; returns whether there were any."""
    loose = crumbs(label)
    found = bool(loose.any())
    if found:
        maps[:, loose], maps[BACKGROUND, loose], label[loose] = 0, 255, BACKGROUND
    return found


def close_gaps(maps: NDArray[np.uint8], label: NDArray[np.uint8]) -> None:
    """Give holes to the next likely tissue, CSF where there is none, never to a lesion.

    No pixel deeper in the brain than its outline then has a share of background: its label's channel has it.
    """
    gaps = holes(label)
    label[gaps] = CSF + maps[CSF:TUMOUR, gaps].argmax(axis=0)
    outline = ndimage.binary_dilation(label == BACKGROUND, iterations=OUTLINE_PIXELS)
    x, y = np.nonzero((gaps | ~outline) & (maps[BACKGROUND] > 0))
    maps[label[x, y], x, y] += maps[BACKGROUND, x, y]
    maps[BACKGROUND, x, y] = 0
