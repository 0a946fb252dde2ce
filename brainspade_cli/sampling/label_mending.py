"""What a drawn label gets wrong in small places, put right there; a label (X, Y) and its PV maps.

`maps` are bytes (8, X, Y) that sum to 255, `label` (X, Y) their argmax, uint8 both, and stay so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CSF, LESIONS, TUMOUR
from brainspade_cli.sampling.label_checks import crumbs, holes
from brainspade_cli.structure_places import STRUCTURES

# Partial volumes of brain and background are two pixels wide: further in, one pixel in a hundred of OASIS and BraTS has
# a tenth of background or more. Maps that leave vessels out have more of these, and so have labels that are drawn; the
# painter, which was shown no image of such maps, makes dark specks and rings there.
OUTLINE_PIXELS = 2
# A pixel this far from a drawn lesion has 1 % of it, on average over 32 labels; nearer ones have more.
HALO_PIXELS = 4


def replace_lesions(maps: NDArray[np.uint8], label: NDArray[np.uint8], strays: NDArray[np.bool_]) -> bool:
    """Make of the lesions `strays` (X, Y) the healthy tissue nearest to each pixel; False where there is none."""
    return _replace(maps, label, strays, LESIONS, (label != BACKGROUND) & (label < TUMOUR))


def replace_structures(maps: NDArray[np.uint8], label: NDArray[np.uint8], strays: NDArray[np.bool_]) -> bool:
    """Make of the pieces `strays` (X, Y) of structures what is nearest to each pixel, be it tissue or lesion.

    False where a brain holds nothing but structures.
    """
    return _replace(maps, label, strays, STRUCTURES, (label != BACKGROUND) & ~np.isin(label, STRUCTURES))


def _replace(
    maps: NDArray[np.uint8],
    label: NDArray[np.uint8],
    strays: NDArray[np.bool_],
    gone: Sequence[int],
    sources: NDArray[np.bool_],
) -> bool:
    """Copy the nearest of the `sources` to each pixel of `strays`, which are of the channels `gone`.

    Around them, what is there takes over what share of these channels its pixels have.
    """
    if not sources.any():
        return False
    nearest = ndimage.distance_transform_edt(~sources, return_distances=False, return_indices=True)
    from_x, from_y = nearest[:, strays]
    maps[:, strays], label[strays] = maps[:, from_x, from_y], label[from_x, from_y]
    x, y = np.nonzero(ndimage.binary_dilation(strays, iterations=HALO_PIXELS) & ~np.isin(label, gone))
    for channel in gone:
        maps[label[x, y], x, y] += maps[channel, x, y]
        maps[channel, x, y] = 0
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
