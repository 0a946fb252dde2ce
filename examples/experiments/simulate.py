"""Domain randomisation after SynthSeg (Billot et al., Medical Image Analysis 2023), in 2D: the baseline of all tables.

A label map is deformed, every tissue gets a Gaussian of random mean and spread, and the image that this makes loses
resolution and gains a bias field and a random gamma. No image of anyone is used. Label maps are hard ones, as in
SynthSeg: partial volumes arise where the image is blurred.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CHANNELS
from brainspade_cli.slices import BACKGROUND_VALUE

# Deformation: degrees, fraction, pixels; `ELASTIC` is the largest standard deviation (pixels) of a random field that
# has one independent value every `ELASTIC_GRID` pixels.
ROTATION = 15.0
SCALING = 0.15
SHEAR = 0.012
TRANSLATION = 8.0
ELASTIC = 4.0
ELASTIC_GRID = 24
# Intensities before normalisation, SynthSeg's own: means in 0..255, standard deviations in 0..35.
MEANS = (0.0, 255.0)
SPREADS = (0.0, 35.0)
# The log of the bias field has at most this standard deviation on a grid of 4 x 4.
BIAS = 0.6
BIAS_GRID = 4
# Half of the images lose resolution: voxels up to so many millimetres wide, along one axis or both.
COARSEST = 3.0
LOG_GAMMA = 0.4
# A brain value must not look like background: the lowest z-score.
DARKEST = BACKGROUND_VALUE + 0.01


def simulate(
    label: NDArray[np.uint8], channels: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One pair from a label (X, Y) of channel numbers: the deformed label, and images float32 (channels, X, Y).

    Images are z-scored over the brain, with `BACKGROUND_VALUE` outside; each channel draws its own intensities, blur,
    bias and gamma on the one label.
    """
    deformed = deform(label, rng)
    return deformed, np.stack([paint_at_random(deformed, rng) for _ in range(channels)])


def deform(label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The label (X, Y) after a random flip, affine and elastic deformation, by nearest neighbour; outside is 0."""
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.eye(2) + rng.uniform(-SHEAR, SHEAR, (2, 2)) * (1 - np.eye(2))
    matrix = turn @ shear @ np.diag(rng.uniform(1 - SCALING, 1 + SCALING, 2))
    if rng.random() < 0.5:
        # The first axis runs from left to right.
        matrix[:, 0] *= -1
    shift = rng.uniform(-TRANSLATION, TRANSLATION, 2)
    size = rng.uniform(0, ELASTIC)
    grid = [max(2, round(side / ELASTIC_GRID)) for side in label.shape]
    field = np.stack([_smooth(rng.normal(0, size, grid), label.shape) for _ in range(2)])
    middle = (np.array(label.shape) - 1) / 2
    where = np.stack(np.meshgrid(*(np.arange(side) for side in label.shape), indexing="ij")) - middle[:, None, None]
    source = np.tensordot(matrix, where, axes=1) + (middle + shift)[:, None, None] + field
    moved: NDArray[np.uint8] = ndimage.map_coordinates(label, source, order=0, cval=BACKGROUND)
    return moved


def paint_at_random(label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """A random image (X, Y) of a label: z-scored over the brain, `BACKGROUND_VALUE` outside."""
    means, spreads = rng.uniform(*MEANS, CHANNELS), rng.uniform(*SPREADS, CHANNELS)
    image = means[label] + spreads[label] * rng.standard_normal(label.shape)
    brain = label != BACKGROUND
    # Tissue at the brain's edge is not mixed with the background: scans are skull-stripped after they are taken.
    image = _coarsened(_blurred(image, brain, rng.uniform(0, 1)), brain, rng)
    image = image * np.exp(_smooth(rng.normal(0, rng.uniform(0, BIAS), (BIAS_GRID, BIAS_GRID)), label.shape))
    low, high = image[brain].min(initial=np.inf), image[brain].max(initial=-np.inf)
    if not high > low:
        return np.full(label.shape, BACKGROUND_VALUE, np.float32)
    image = np.clip((image - low) / (high - low), 0, 1) ** np.exp(rng.normal(0, LOG_GAMMA))
    image = np.maximum(image, _floor(image[brain]))
    scored = (image - image[brain].mean()) / max(image[brain].std(), 1e-6)
    return np.where(brain, scored, BACKGROUND_VALUE).astype(np.float32)


def _floor(values: NDArray[np.float64]) -> float:
    """The lowest of the brain's values (N,) that has a z-score of `DARKEST` or more once all below are raised to it.

    To cut z-scores off afterwards would give a brain with a few dark pixels another mean and deviation.
    """
    rising = np.sort(values)
    raised = np.arange(len(rising))
    mean, square = ((raised * powers + powers[::-1].cumsum()[::-1]) / len(rising) for powers in (rising, rising**2))
    clear = rising >= mean + DARKEST * np.sqrt(np.maximum(square - mean**2, 0))
    return float(rising[clear.argmax()])


def _coarsened(image: NDArray[np.float64], brain: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Half the time, the image as a scanner of larger voxels would give it, back on its own grid."""
    if rng.random() < 0.5:
        return image
    voxel = np.ones(2)
    voxel[rng.permutation(2)[: rng.integers(1, 3)]] = rng.uniform(1, COARSEST)
    blurred = _blurred(image, brain, 0.5 * np.where(voxel > 1, voxel, 0))
    coarse = ndimage.zoom(blurred, 1 / voxel, order=1, grid_mode=True, mode="nearest")
    return _smooth(coarse, image.shape, order=1)


def _blurred(
    image: NDArray[np.float64], brain: NDArray[np.bool_], sigma: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """A Gaussian blur inside the brain alone; outside, the mean of what is near."""
    weight = ndimage.gaussian_filter(brain.astype(float), sigma)
    total = ndimage.gaussian_filter(np.where(brain, image, 0.0), sigma)
    blurred: NDArray[np.float64] = np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0.0)
    return blurred


def _smooth(values: NDArray[np.float64], shape: tuple[int, ...], order: int = 3) -> NDArray[np.float64]:
    """A coarse grid of values brought up to `shape`."""
    factors = [side / count for side, count in zip(shape, values.shape, strict=True)]
    grown: NDArray[np.float64] = ndimage.zoom(values, factors, order=order, grid_mode=True, mode="nearest")
    return grown
