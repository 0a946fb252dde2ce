"""Where the other channels of a person lie against the reference scan: what their headers say, made true.

Channels of one session are published "aligned" and lie a millimetre apart all the same, because a head moved, or
because slices of 5 mm were resampled from their edge instead of their middle: half the width of the cortex.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.errors import ScanError
from brainspade_cli.preparing.ants_affine import refine_rigid
from brainspade_cli.preparing.volumes import Volume, find_foreground, sample_onto

# Off the brain's outline, which stripped channels share and which would hold them where they are.
MARGIN_MM = 6.0
# Of the brain: with less to go by (a channel of a few slices) the headers are trusted.
MIN_SEEN = 0.5
SMOOTHING_MM = 1.5
BINS = 32


def align_channel(reference: Volume, channel: Volume, brain: NDArray[np.bool_]) -> tuple[NDArray[np.float64], str]:
    """World-to-world transform (4 x 4) from mm of `reference` to mm of `channel`, and a note on it.

    A rigid alignment by mutual information, started from the headers, inside `brain` ((X, Y, Z) in `reference`) less a
    margin. The identity, and a note that says so, where the channel shows too little of the brain, or where ANTs fails
    or makes the two agree less. Raises ScanError for a channel that shows no brain.
    """
    foreground = replace(channel, data=find_foreground(channel).mask.astype(np.float32))
    shown = _onto(reference, foreground, np.eye(4))
    inside = _middle(brain & (shown > 0.5), reference)
    if inside.sum() <= MIN_SEEN * _middle(brain, reference).sum():
        return np.eye(4), f"{channel.path.name} shows too little of the brain to be aligned to {reference.path.name}."
    try:
        transform = refine_rigid(reference, channel, inside)
    except ScanError as error:
        return np.eye(4), f"{error} It lies where its header says."
    # Smoothed: interpolation takes noise off a scan that is moved by a part of a voxel, and any move would look a gain.
    smooth = replace(channel, data=ndimage.gaussian_filter(channel.data, SMOOTHING_MM / np.array(channel.spacing)))
    before, after = (
        mutual_information(reference.data[inside], _onto(reference, smooth, place)[inside])
        for place in (np.eye(4), transform)
    )
    if after <= before:
        return np.eye(4), f"{channel.path.name} lies where its header says: no better place on {reference.path.name}."
    moved = _reach(transform, inside, reference)
    return transform, f"{channel.path.name} was moved by up to {moved:.1f} mm onto {reference.path.name}."


def _onto(reference: Volume, channel: Volume, transform: NDArray[np.float64]) -> NDArray[np.float32]:
    """The channel where `transform` puts it, at the voxels of the reference."""
    x, y, z = reference.data.shape
    return sample_onto(channel.data, channel.affine, (x, y, z), transform @ reference.affine)


def _reach(transform: NDArray[np.float64], inside: NDArray[np.bool_], volume: Volume) -> float:
    """The furthest that a corner of the box around `inside` is moved, in mm."""
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    corners = np.stack([*np.meshgrid(*((side.start, side.stop - 1) for side in box)), np.ones((2, 2, 2))])
    points = volume.affine @ corners.reshape(4, -1)
    return float(np.linalg.norm((transform @ points - points)[:3], axis=0).max())


def mutual_information(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Of two lists of intensities (N,), in nats, over 32 x 32 bins of equal filling; 0 where they are independent."""
    joint, _, _ = np.histogram2d(_ranked(first), _ranked(second), bins=BINS)
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())


def _ranked(values: NDArray[np.float32]) -> NDArray[np.int_]:
    return np.digitize(values, np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))


def _middle(mask: NDArray[np.bool_], volume: Volume) -> NDArray[np.bool_]:
    """A mask less its outer `MARGIN_MM`; distances are measured in the mask's box alone, for they take much memory."""
    middle = np.zeros_like(mask)
    for box in ndimage.find_objects(mask.astype(np.uint8)):
        distance = ndimage.distance_transform_edt(np.pad(mask[box], 1), sampling=volume.spacing)
        middle[box] = distance[1:-1, 1:-1, 1:-1] > MARGIN_MM
    return middle
