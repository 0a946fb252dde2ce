"""What a drawn label gets wrong in small places, put right there; a label (X, Y) and its PV maps.

`maps` are bytes (8, X, Y) that sum to 255, `label` (X, Y) their argmax, uint8 both, and stay so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CSF, LESIONS, TUMOUR
from brainspade_cli.sampling.label_checks import ACROSS_PIXELS, across, crumbs, holes

# Partial volumes of brain and background are two pixels wide: further in, one pixel in a hundred of OASIS and BraTS has
# a tenth of background or more. Maps that leave vessels out have more of these, and so have labels that are drawn; the
# painter, which was shown no image of such maps, makes dark specks and rings there.
OUTLINE_PIXELS = 2
# As far around a lesion reaches its partial volume.
HALO_PIXELS = 2


def drop_lesions_across(maps: NDArray[np.uint8], label: NDArray[np.uint8]) -> bool:
    """Make of lesions across the midline the tissue nearest to them; returns whether there were any.

    Not of those that cover `ACROSS_PIXELS` or more: for these a label fails its checks.
    """
    strays = across(label)
    if not 0 < np.count_nonzero(strays) < ACROSS_PIXELS:
        return False
    lesions = np.isin(label, LESIONS)
    halo = ndimage.binary_dilation(strays, iterations=HALO_PIXELS) & (label != BACKGROUND)
    filled = halo & ~(lesions & ~strays)
    sources = (label != BACKGROUND) & ~lesions & ~filled
    nearest = ndimage.distance_transform_edt(~sources, return_distances=False, return_indices=True)
    from_x, from_y = nearest[:, filled]
    maps[:, filled], label[filled] = maps[:, from_x, from_y], label[from_x, from_y]
    x, y = np.nonzero(filled)
    for lesion in LESIONS:
        maps[label[x, y], x, y] += maps[lesion, x, y]
        maps[lesion, x, y] = 0
    return True


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
