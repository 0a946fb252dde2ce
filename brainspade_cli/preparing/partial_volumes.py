"""Tissue posteriors, region maps and tumour masks -> PV maps that sum to 1 (arrays on the canonical grid)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BRAINSTEM, CHANNELS, CSF, DEEP_GM, GM, OEDEMA, TUMOUR, WM
from brainspade_cli.geometry import GRID_SHAPE
from brainspade_cli.preparing.volumes import Volume, sample_onto

Maps = NDArray[np.float32]
TISSUES = (CSF, GM, WM)
# A hard label blurred by this much (mm) has the partial volume at its edge that 1 mm voxels give.
LABEL_BLUR_MM = 0.6


def label_fractions(volume: Volume, scheme: Mapping[int, int], grid_to_world: NDArray[np.float64]) -> Maps:
    """Fraction of every channel in each grid voxel, from a hard label map: (channels, *GRID_SHAPE), 0..1.

    Channel 0 stays zero: what is background follows from the rest. Each label is blurred by `LABEL_BLUR_MM` in its own
    space and sampled linearly. Values that `scheme` does not know count as nothing.
    """
    fractions = np.zeros((CHANNELS, *GRID_SHAPE), np.float32)
    channels = channels_of(volume, scheme)
    sigma = [LABEL_BLUR_MM / spacing for spacing in volume.spacing]
    for channel in np.unique(channels):
        if channel:
            mask = ndimage.gaussian_filter((channels == channel).astype(np.float32), sigma, truncate=3.0)
            fractions[channel] = sample_onto(mask, volume.affine, GRID_SHAPE, grid_to_world)
    return fractions


def channels_of(volume: Volume, scheme: Mapping[int, int]) -> NDArray[np.uint8]:
    """Channel of every voxel (X, Y, Z) of a hard label map; 0 where `scheme` does not know the value."""
    # Whatever the file holds, the table is as long as the scheme needs.
    unknown = max(scheme) + 1
    lookup = np.zeros(unknown + 1, np.uint8)
    lookup[list(scheme)] = list(scheme.values())
    return lookup[np.clip(np.round(volume.data), 0, unknown).astype(np.int32)]


def combine(
    brain: NDArray[np.float32],
    tissues: Maps,
    deep_gm: NDArray[np.float32],
    brainstem: NDArray[np.float32],
    tumour: NDArray[np.float32],
    oedema: NDArray[np.float32],
) -> Maps:
    """PV maps (channels, ...) in [0, 1] that sum to 1, from maps of any matching shape.

    Lesions take their share first, then deep grey matter and brainstem take theirs of the rest, and CSF, GM and WM
    (`tissues`, 3 first) divide what is left in proportion. `brain` is the fraction of a voxel within the brain;
    a lesion counts as brain. Brain without any tissue counts as CSF.
    """
    lesion = np.clip(tumour + oedema, 1e-6, None)
    share = np.minimum(1.0, 1.0 / lesion)
    maps = np.zeros((CHANNELS, *brain.shape), np.float32)
    maps[TUMOUR], maps[OEDEMA] = np.clip(tumour * share, 0, 1), np.clip(oedema * share, 0, 1)
    rest = np.clip(brain, 0, 1) * np.clip(1.0 - maps[TUMOUR] - maps[OEDEMA], 0, 1)
    crowding = np.maximum(1.0, deep_gm + brainstem)
    maps[DEEP_GM], maps[BRAINSTEM] = rest * deep_gm / crowding, rest * brainstem / crowding
    rest = np.clip(rest - maps[DEEP_GM] - maps[BRAINSTEM], 0, None)
    total = tissues.sum(axis=0)
    known = total > 1e-3
    for channel, tissue in zip(TISSUES, tissues, strict=True):
        maps[channel] = rest * np.divide(tissue, total, out=np.zeros_like(total), where=known)
    maps[CSF] += np.where(known, 0.0, rest)
    maps[0] = np.clip(1.0 - maps[1:].sum(axis=0), 0, 1)
    return np.clip(maps / maps.sum(axis=0), 0, 1)


def quantise(maps: Maps) -> NDArray[np.uint8]:
    """PV maps (channels first, sum 1) as uint8 that sum to 255 everywhere; off by at most 1/255 a channel.

    Largest remainders: every channel is rounded down, and the units left over go to the channels that lost most.
    """
    scaled = maps.astype(np.float32) * 255.0
    floor = np.floor(scaled)
    left = np.rint(255.0 - floor.sum(axis=0))
    # Most voxels are pure and have nothing left over; only the mixed ones are worth sorting.
    mixed = left > 0
    lost = (floor - scaled)[:, mixed]
    rank = np.argsort(np.argsort(lost, axis=0, kind="stable"), axis=0, kind="stable")
    floor[:, mixed] += rank < left[mixed]
    return floor.astype(np.uint8)
