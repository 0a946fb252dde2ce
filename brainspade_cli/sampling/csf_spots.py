"""Bright spots in CSF: flow shows as such in some FLAIRs, and the painter paints it in too many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CSF, LESIONS, TUMOUR
from brainspade_cli.geometry import DIAGONALS_TOO
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.sampling.lesion_borders import REACH
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.randomness import Stream, generator

# Of slices without a lesion in FLAIRs of training patients 28 to 39 % have eight pixels or more six robust deviations
# above the brain's median, painted in the style of these people 30 to 84 % (`examples/train_starter/spots.py`); whose
# scans have them does not tell whose style does.
KEPT = 0.5
# Robust standard deviations above the brain's median. What peaks above the first is a spot, for hardly a pixel of CSF
# in a hundred does in scans; all of it that is brighter than grey matter usually is goes with it. What the painter
# lets shine into the tissue beside, within so many pixels, it makes brighter than cortex mostly is.
PEAK, FOOT, HALO = 4.0, 1.0, 1.5
HALO_PIXELS = 2
BLEND_PIXELS = 1.0
MAD_TO_SD = 1.4826
TISSUES = np.arange(BACKGROUND + 1, TUMOUR)


def with_fewer_spots(
    images: NDArray[np.float32], draw: LabelDraw, plan: PairPlan, index: int, brightest: Sequence[float]
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Images of pair `index`, without bright spots in CSF in half of the pairs, which the plan's seed chooses.

    Where they stay they are no brighter than the brain of the style scan is anywhere, `brightest` (one a channel): the
    painter made some twice as bright.

    `images`: float32 (channels, 192, 256), z-scored over the brain, painted on `draw`; what is returned is alike, and
    how many pixels of each were taken away: of spots, or too bright beside one.
    """
    if generator(plan.seed, Stream.CSF_SPOTS, index).random() < KEPT:
        limited = [
            # Where nothing is too bright, nothing need be looked for.
            np.where(spots_of(image, draw.label), np.minimum(image, np.float32(limit)), image)
            if image.max() > limit
            else image
            for image, limit in zip(images, brightest, strict=True)
        ]
        return np.stack(limited), (0,) * len(images)
    without, pixels = zip(*(without_spots(image, draw) for image in images), strict=True)
    return np.stack(without), pixels


def without_spots(image: NDArray[np.float32], draw: LabelDraw) -> tuple[NDArray[np.float32], int]:
    """An image (X, Y), z-scored, in which spots in CSF are as dark as the tissues that its PV maps have there.

    So is what is too bright beside a spot, but near lesions. Spots become as smooth as PV maps are. With the image
    comes how many of its pixels this was; those beside, into which they are blended, are not counted.
    """
    label = draw.label
    spots = spots_of(image, label)
    if not spots.any():
        return image, 0
    brain, far = label != BACKGROUND, ~_near_lesions(label)
    centre, spread = robust_scale(image[brain])
    beside = ndimage.binary_dilation(spots, DIAGONALS_TOO, HALO_PIXELS) & brain & far & (image > centre + HALO * spread)
    of_tissues = [image[label == tissue] for tissue in TISSUES]
    typical = [np.median(values) if values.size else centre for values in of_tissues]
    shares = draw.maps[TISSUES].astype(np.float32)
    expected = np.tensordot(np.asarray(typical, np.float32), shares, 1) / np.maximum(shares.sum(axis=0), 1)
    replaced = spots | beside
    # Beside what is replaced, the less the further: a hard edge would show.
    share = np.maximum(replaced, ndimage.gaussian_filter(replaced.astype(np.float32), BLEND_PIXELS)) * (brain & far)
    darker = np.minimum(expected, image)
    return image + share * (darker - image), int((replaced & (darker < image)).sum())


def spots_of(image: NDArray[np.float32], label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels of an image (X, Y), z-scored, are spots in CSF.

    Near lesions none are, for their borders are bright as well, and none in an image whose CSF is brighter than its
    brain, as in a T2.
    """
    csf = label == CSF
    if not csf.any():
        return np.zeros_like(csf)
    centre, spread = robust_scale(image[label != BACKGROUND])
    peaks = csf & (image > centre + PEAK * spread)
    if not peaks.any() or np.median(image[csf]) >= centre + FOOT * spread:
        return np.zeros_like(csf)
    far = ~_near_lesions(label)
    parts, count = ndimage.label(csf & far & (image > centre + FOOT * spread), DIAGONALS_TOO)
    is_spot = np.zeros(count + 1, bool)
    is_spot[parts[peaks & far]] = True
    spots: NDArray[np.bool_] = is_spot[parts]
    return spots


def robust_scale(values: NDArray[np.floating]) -> tuple[np.floating, np.floating]:
    """Median of some values, and their standard deviation as the median deviation from it tells."""
    centre = np.median(values)
    return centre, MAD_TO_SD * np.median(np.abs(values - centre))


def _near_lesions(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where soft borders of lesions reach but for their faintest corners: so many steps from a lesion's pixels."""
    lesions = np.isin(label, LESIONS)
    return ndimage.binary_dilation(lesions, iterations=REACH) if lesions.any() else lesions
