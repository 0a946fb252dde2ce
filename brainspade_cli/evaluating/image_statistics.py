"""What one image shows, over its brain: contrast between tissues, histogram, features, and whether it fits its label.

Every image is standardised over its own brain first, as nnU-Net does with what it is given: the scale of the
intensities does not count, what stands out from what does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import BACKGROUND
from brainspade_cli.evaluating.features import FixedFeatures

# Ends of the histogram in standard deviations, and the bins between; what lies beyond counts in the outermost.
HISTOGRAM_RANGE = (-5.0, 5.0)
HISTOGRAM_BINS = 200
FEWEST_PIXELS = 20
# A single bright pixel must not decide over the features of a slice.
_CLIP = (-4.0, 5.0)


@dataclass(frozen=True)
class ImageFacts:
    """One image. `picture`: float32 (X, Y), standardised and clipped, 0 outside the brain; `brain`: where that is.

    `contrast`: mean of each class but background, NaN where it has fewer than `FEWEST_PIXELS` pixels. `histogram`:
    shares of the brain (bins,). `agreement`: Dice of the brain in the image and in the label, 0..1.
    """

    picture: NDArray[np.float32]
    brain: NDArray[np.bool_]
    contrast: NDArray[np.float64]
    histogram: NDArray[np.float64]
    features: NDArray[np.float32]
    agreement: float


def describe_image(image: NDArray[Any], ids: NDArray[Any], classes: int, network: FixedFeatures) -> ImageFacts:
    """Describe an image (X, Y) with the label ids (X, Y) of its pixels, of which there are `classes`."""
    scored, brain = standardise(image)
    picture = np.clip(scored, *_CLIP)
    sizes = np.bincount(ids.ravel(), minlength=classes)
    sums = np.bincount(ids.ravel(), weights=scored.ravel(), minlength=classes)
    means = np.where(sizes >= FEWEST_PIXELS, sums / np.maximum(sizes, 1), np.nan)
    labelled = ids != BACKGROUND
    return ImageFacts(
        picture=picture,
        brain=brain,
        contrast=means[BACKGROUND + 1 :],
        histogram=histogram(scored[brain]),
        features=network(picture, brain),
        agreement=float(2 * (brain & labelled).sum() / max(1, brain.sum() + labelled.sum())),
    )


def standardise(image: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An image (X, Y) in standard deviations from the mean of its brain, 0 outside, and where its brain is.

    Outside is what has the value that is commonest along the frame, so a skull counts as brain.
    """
    values = np.asarray(image, np.float32)
    frame = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    found, counts = np.unique(frame, return_counts=True)
    brain = values != found[counts.argmax()]
    inside = values[brain]
    deviation = inside.std() if inside.size else 0.0
    if deviation == 0:
        return np.zeros_like(values), brain
    return np.where(brain, (values - inside.mean()) / deviation, 0).astype(np.float32), brain


def histogram(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Shares of values in each bin, summing to 1; all 0 where there are none."""
    counts, _ = np.histogram(np.clip(values, *HISTOGRAM_RANGE), HISTOGRAM_BINS, HISTOGRAM_RANGE)
    return np.asarray(counts / max(1, counts.sum()), np.float64)
