"""Where the other channels of a person lie against the reference scan: what their headers say, made true.

Channels of one session are published "aligned" and lie a millimetre apart all the same, because a head moved, or
because slices of 5 mm were resampled from their edge instead of their middle: half the width of the cortex.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.preparing.ants_affine import refine_rigid
from brainspade_cli.preparing.volumes import Volume, centre_of, sample_onto

# Off the brain's outline, which stripped channels share and which would hold them where they are.
MARGIN_MM = 6.0
# Of the brain: with less to go by (a channel of a few slices) the headers are trusted.
MIN_SEEN = 0.5
BINS = 32


def align_channel(reference: Volume, channel: Volume, brain: NDArray[np.bool_]) -> tuple[NDArray[np.float64], str]:
    """World-to-world transform (4 x 4) from mm of `reference` to mm of `channel`, and a note on it.

    A rigid alignment by mutual information, started from the headers, inside `brain` ((X, Y, Z) in `reference`) less a
    margin. The identity, and a note that says so, where the channel shows too little of the brain, or where the
    alignment makes the two agree less.
    """
    sampled = sample_onto(channel.data, channel.affine, _shape(reference), reference.affine, outside=np.nan)
    # Not beyond the field of view (NaN), and not where the channel was stripped.
    seen = sampled > channel.data.min()
    inside = _middle(brain & seen, reference)
    if inside.sum() < MIN_SEEN * _middle(brain, reference).sum():
        return np.eye(4), f"{channel.path.name} shows too little of the brain to be aligned to {reference.path.name}."
    transform = refine_rigid(reference, channel, inside)
    aligned = sample_onto(channel.data, channel.affine, _shape(reference), transform @ reference.affine)
    values = reference.data[inside]
    centre = reference.affine @ np.append(centre_of(inside), 1.0)
    moved = float(np.linalg.norm(transform @ centre - centre))
    if mutual_information(values, aligned[inside]) <= mutual_information(values, sampled[inside]):
        return np.eye(4), f"{channel.path.name} lies where its header says: no better place on {reference.path.name}."
    return transform, f"{channel.path.name} was moved by {moved:.1f} mm onto {reference.path.name}."


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
    return ndimage.distance_transform_edt(mask, sampling=volume.spacing) > MARGIN_MM


def _shape(volume: Volume) -> tuple[int, int, int]:
    x, y, z = volume.data.shape
    return x, y, z
