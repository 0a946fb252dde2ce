"""Bright spots in dark CSF: flow shows as such in some FLAIRs, and the painter paints it in too many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CSF, LESIONS, TUMOUR
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.sampling.lesion_borders import REACH
from brainspade_cli.sampling.randomness import Stream, generator

# Of slices without a lesion in FLAIRs of training patients 28 to 39 % have eight pixels or more six robust deviations
# above the brain's median, painted in the style of these people 30 to 84 % (`examples/train_starter/spots.py`); whose
# scans have them does not tell whose style does.
KEPT = 0.5
# Robust standard deviations above the brain's median: of a spot's peak, of all that belongs to it, and of what else is
# too bright beside it.
PEAK, FOOT, HALO = 4.0, 1.0, 1.5
HALO_PIXELS = 2
MAD_TO_SD = 1.4826
TISSUES = np.arange(BACKGROUND + 1, TUMOUR)
AROUND = np.ones((3, 3), bool)


def with_dark_csf(images: NDArray[np.float32], draw: LabelDraw, seed: int, index: int) -> NDArray[np.float32]:
    """Images (channels, X, Y) of pair `index`, in every other pair, by chance, without bright spots in CSF."""
    if generator(seed, Stream.CSF_SPOTS, index).random() < KEPT:
        return images
    return np.stack([without_spots(image, draw) for image in images])


def without_spots(image: NDArray[np.float32], draw: LabelDraw) -> NDArray[np.float32]:
    """An image (X, Y) with spots in CSF as bright as the tissues are that its PV maps have there.

    An image whose CSF is no darker than the brain is returned as it is, and so is what may be a lesion's border.
    """
    label = draw.label
    brain = label != BACKGROUND
    csf = label == CSF
    if not csf.any():
        return image
    centre = np.median(image[brain])
    if np.median(image[csf]) >= centre:
        return image
    spread = MAD_TO_SD * np.median(np.abs(image[brain] - centre))
    peaks = csf & (image > centre + PEAK * spread)
    if not peaks.any():
        return image
    far = ~_near_lesions(label)
    parts, count = ndimage.label(csf & far & (image > centre + FOOT * spread), AROUND)
    is_spot = np.zeros(count + 1, bool)
    is_spot[parts[peaks & far]] = True
    spots = is_spot[parts]
    beside = ndimage.binary_dilation(spots, AROUND, HALO_PIXELS) & brain & far & (image > centre + HALO * spread)
    typical = [np.median(image[label == tissue]) if (label == tissue).any() else centre for tissue in TISSUES]
    shares = draw.maps[TISSUES].astype(np.float32)
    expected = np.tensordot(np.asarray(typical, np.float32), shares, 1) / np.maximum(shares.sum(axis=0), 1)
    return np.where(spots | beside, expected, image)


def _near_lesions(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a lesion's soft border may reach."""
    lesions = np.isin(label, LESIONS)
    return ndimage.binary_dilation(lesions, iterations=REACH) if lesions.any() else lesions
