"""Lesions that fade into the tissue around them, as gliomas do: borders as sharp as labels' are painted with a line.

The label of a pair, and the PV maps that go with it, keep the border that was drawn.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, LESIONS
from brainspade_cli.preparing.partial_volumes import quantise

# Standard deviation of the blur. In FLAIRs of training patients an oedema keeps of its difference to white matter .90,
# .81, .69, .46, .21 and .10 from four pixels inside its border to two outside; painted with borders as they are .98,
# .95, .72, .35, .24 and .06, with this blur .91, .84, .67, .35, .23 and .12 (`examples/train_starter/borders.py`).
# Borders with CSF are sharper in scans, but with CSF keeping its share images are off by .73 SDs within four pixels of
# a border, in place of .67.
BLUR_PIXELS = 1.5
REACH = math.ceil(4 * BLUR_PIXELS)
# What is narrower than the blur would fade from the image and not from the label.
LEAST_KEPT = 0.5


def softened(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PV maps (8, X, Y), bytes that sum to 255, with borders of lesions and those inside them blurred in the brain.

    Background keeps its share, a lesion's pixel at least half of the lesion's, and what is further from a lesion than
    `REACH` stays as it was; without a lesion these are the maps that were given.
    """
    lesion = maps[list(LESIONS)].any(axis=0)
    if not lesion.any():
        return maps
    x, y = np.nonzero(lesion)
    box = np.s_[:, max(x.min() - REACH, 0) : x.max() + REACH + 1, max(y.min() - REACH, 0) : y.max() + REACH + 1]
    around = maps[box].astype(np.float32) / 255
    blurred = ndimage.gaussian_filter(around, (0, BLUR_PIXELS, BLUR_PIXELS), mode="nearest")
    smallest = np.finfo(np.float32).tiny
    brain, blurred_brain = around[BACKGROUND + 1 :], blurred[BACKGROUND + 1 :]
    in_brain = brain.sum(axis=0)
    # From here on shares are of what the pixel has of brain.
    tissue, lesions = np.split(brain / np.maximum(in_brain, smallest), [-len(LESIONS)])
    blurred_tissue, blurred_lesions = np.split(blurred_brain, [-len(LESIONS)])
    share = blurred_lesions / np.maximum(blurred_brain.sum(axis=0), smallest)
    near = share.any(axis=0)
    share = np.maximum(share, LEAST_KEPT * lesions)
    share /= np.maximum(share.sum(axis=0), 1)
    # What little tissue a pixel of a lesion has is what its border leaves by chance: the more of a lesion there is, the
    # more what lies beneath it is taken from around.
    of_tissue = tissue.sum(axis=0)
    beneath = of_tissue * tissue + (1 - of_tissue) * blurred_tissue
    beneath /= np.maximum(beneath.sum(axis=0), smallest)
    mixed = np.concatenate([(1 - share.sum(axis=0)) * beneath, share]) * in_brain
    soft = maps.copy()
    soft[box] = np.where(near, quantise(np.concatenate([around[: BACKGROUND + 1], mixed])), maps[box])
    return soft
