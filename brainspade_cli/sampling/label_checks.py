"""Does a label look like an axial brain slice, and does it hold what was asked for?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CSF, LESIONS
from brainspade_cli.geometry import DIAGONALS_TOO, MIN_TUMOUR_PIXELS

BRAIN_FRACTION = (0.10, 0.60)
# Low slices show temporal lobes and cerebellum apart: of 1,000 real ones 16 % have two or three parts of this size.
# None has more than 5 % of its brain in smaller pieces.
PART_PIXELS = 150
MAX_PARTS = 4
MAX_CRUMBS = 0.05
# Background in the midst of a brain is either wide, as between temporal lobes and cerebellum, or hardly there: of 591
# slices of OASIS and BraTS six in seven have none, and nine in ten at most two pixels. Label maps that leave vessels
# out have many, and weights trained on some draw them.
HOLE_PIXELS = 100
# Of 5,162 slices of people five hold more, all of them low ones whose labels are wrong.
MAX_CSF = 0.8
# Where slices of people have lesions on both sides as rarely as this, drawn ones are mended, or where they have as many
# pixels across drawn again. Of 2,270 slices of patients one in twenty-two has any, and one in three hundred so many; of
# drawn ones every fifth and every twentieth, for a denoiser that learns from brains flipped left to right is slow to
# decide on a side.
RARE = 0.1
ACROSS_PIXELS = 400
BOTH_SIDES = "lesions lie on both sides"


def lesion_pixels(label: NDArray[np.uint8]) -> int:
    """Number of pixels that are tumour or oedema in a label (X, Y)."""
    return sum(int(np.count_nonzero(label == lesion)) for lesion in LESIONS)


def crumbs(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where brain lies in pieces of fewer than `PART_PIXELS` pixels, apart from the rest, in a label (X, Y)."""
    parts, _ = ndimage.label(label != BACKGROUND, structure=DIAGONALS_TOO)
    small = np.bincount(parts.ravel()) < PART_PIXELS
    small[0] = False
    return small[parts] if small.any() else np.zeros(label.shape, bool)


def holes(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where fewer than `HOLE_PIXELS` pixels of background lie together with brain all around, in a label (X, Y)."""
    parts, _ = ndimage.label(label == BACKGROUND)
    small = np.bincount(parts.ravel()) < HOLE_PIXELS
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        small[edge] = False
    small[0] = False
    return small[parts] if small.any() else np.zeros(label.shape, bool)


def label_problems(label: NDArray[np.uint8], lesion: bool | None) -> tuple[str, ...]:
    """What is wrong with a label (X, Y) of channel numbers; nothing, for one that may be kept.

    `lesion`: whether a lesion was asked for; None where nothing was. Tumour and oedema count together, as they do when
    slices are chosen for training.
    """
    problems = []
    brain = label != BACKGROUND
    area = int(brain.sum())
    low, high = BRAIN_FRACTION
    if not low <= area / label.size <= high:
        problems.append(f"the brain fills {area / label.size:.0%} of the slice")
    if area:
        parts, _ = ndimage.label(brain, structure=DIAGONALS_TOO)
        sizes = np.bincount(parts.ravel())[1:]
        loose = int(sizes[sizes < PART_PIXELS].sum())
        if loose > MAX_CRUMBS * area:
            problems.append(f"{loose / area:.0%} of the brain lies in fragments")
        if (sizes >= PART_PIXELS).sum() > MAX_PARTS:
            problems.append(f"the brain is in {(sizes >= PART_PIXELS).sum()} parts")
        csf = int(np.count_nonzero(label == CSF))
        if csf > MAX_CSF * area:
            problems.append(f"{csf / area:.0%} of the brain is CSF")
    pixels = lesion_pixels(label)
    if lesion and pixels < MIN_TUMOUR_PIXELS:
        problems.append("the lesion asked for is absent")
    if lesion is False and pixels >= MIN_TUMOUR_PIXELS:
        problems.append("a lesion was not asked for")
    return tuple(problems)
