"""A scan as it comes -> the brain slices that give their style: RAS, 1 mm in-plane, z-scored, brain in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import ScanError
from brainspade_cli.geometry import MIN_BRAIN_FRACTION, SLICE_SHAPE
from brainspade_cli.preparing.volumes import (
    centre_of,
    find_foreground,
    normalise,
    read_volume,
    require_contrast,
    sample_onto,
    strip_skull,
)
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.notes import StyleNote

THICK_MM = 2.0
# A slice of the cerebellum or the vertex holds too little of each tissue to tell a T1 from a FLAIR; styles come from
# the slices with at least this share of the largest one's brain.
LARGE_SLICE = 0.6
# No scan gives more slices than this; evenly spaced ones are taken from a thin-slice volume.
MAX_STYLE_SLICES = 64
# Correlation of neighbouring pixels (1 mm). Of 87 brain scans, thick ones among them, all lie between 0.79 and 0.97;
# noise has 0, and the same scans blurred by a Gaussian of 9 mm (full width at half maximum) have 0.99 and more.
LEAST_CORRELATION, MOST_CORRELATION = 0.7, 0.985
# A cropped scan may touch the edge of its picture; with more of its widest section lying there, it is cut through.
MOST_CUT = 0.25


@dataclass(frozen=True)
class StyleScan:
    """A style scan, ready for the style encoder.

    `slices`: float32 (S, 192, 256), z-scored over the brain, `BACKGROUND_VALUE` outside. `intensity_mean`,
    `intensity_std` (of the brain) and `background` are in the scan's own units. `brightest`: the highest z-score of the
    brain, in whatever slice, at most 10. `skull`: a skull was seen;
    `stripped`: a skull stripper took it off. `notes`: what a user should know of it.
    """

    slices: NDArray[np.float32]
    intensity_mean: float
    intensity_std: float
    background: float
    brightest: float
    skull: bool
    stripped: bool
    notes: tuple[StyleNote, ...]


def load_style(path: Path) -> StyleScan:
    """Read a scan as a style; raises ScanError where it cannot be read or shows no brain."""
    volume = read_volume(path)
    foreground = find_foreground(volume)
    brain, stripped = foreground.mask, False
    outside = _coarseness(path, volume.spacing)
    notes = []
    if foreground.skull:
        brain, stripped = strip_skull(volume, foreground)
        how = (
            "it was stripped with deepbet"
            if stripped
            else "only the middle of the head gives the style; for a full brain install the extra `brainspade[strip]`"
        )
        notes.append(StyleNote(f"{path} shows a skull: {how}.", path, outside=not stripped))
    else:
        outside += _cuts(path, brain)
    if brain.sum() < 100:
        raise ScanError(f"{path} shows no brain once its skull is taken off; strip it first.")
    require_contrast(volume, brain)
    scored, mean, deviation = normalise(volume.data, brain, BACKGROUND_VALUE)
    slices = _centred_slices(scored, brain, volume.affine, volume.spacing)
    if len(slices) == 0:
        raise ScanError(
            f"{path} shows no brain: no axial slice has {MIN_BRAIN_FRACTION:.0%} brain in a 192 x 256 mm frame."
        )
    outside += _texture(path, slices)
    keep = np.unique(np.linspace(0, len(slices) - 1, min(len(slices), MAX_STYLE_SLICES)).round().astype(int))
    return StyleScan(
        slices=slices[keep],
        intensity_mean=mean,
        intensity_std=deviation,
        background=foreground.background,
        brightest=float(scored[brain].max()),
        skull=foreground.skull,
        stripped=stripped,
        notes=(*notes, *(StyleNote(text, path, outside=True) for text in outside)),
    )


def _coarseness(path: Path, spacing: tuple[float, float, float]) -> list[str]:
    notes = []
    if spacing[2] > THICK_MM:
        notes.append(f"{path} has thick slices ({spacing[2]:.1f} mm); each is used as it is.")
    if max(spacing[:2]) > THICK_MM:
        notes.append(
            f"{path} is coarse in the axial plane ({spacing[0]:.1f} x {spacing[1]:.1f} mm): its style will look smooth."
        )
    return notes


def _cuts(path: Path, brain: NDArray[np.bool_]) -> list[str]:
    """What to say of a brain (X, Y, Z) that the left, right, front or back edge of the picture cuts through.

    Above and below it may be cut: a slab of slices gives a style as well as a whole brain does.
    """
    shares = []
    for axis in (0, 1):
        areas = brain.sum(axis=(1 - axis, 2))
        shares += [areas[0] / areas.max(), areas[-1] / areas.max()]
    if max(shares) <= MOST_CUT:
        return []
    return [
        f"{path} shows a brain that the edge of the picture cuts through: {max(shares):.0%} of its widest section"
        " lies there."
    ]


def _texture(path: Path, slices: NDArray[np.float32]) -> list[str]:
    """What to say of slices (S, X, Y) that have no structure, or none but the coarsest, whatever their header says."""
    correlation = neighbour_correlation(slices)
    if correlation < LEAST_CORRELATION:
        return [
            f"{path} looks like noise: neighbouring pixels correlate by {correlation:.2f}, and in brain scans by"
            " 0.8 and more."
        ]
    if correlation > MOST_CORRELATION:
        return [
            f"{path} is blurred: neighbouring pixels correlate by {correlation:.3f}, and in scans of 1 mm by 0.97"
            " at most. Its style will look smooth."
        ]
    return []


def neighbour_correlation(slices: NDArray[np.float32]) -> float:
    """Correlation of pixels of the brain with those beside and before them, in slices (S, X, Y); 0 for flat ones."""
    brain = slices > BACKGROUND_VALUE
    pairs = []
    for axis in (1, 2):
        first, second = (np.delete(slices, end, axis) for end in (-1, 0))
        both = np.delete(brain, -1, axis) & np.delete(brain, 0, axis)
        pairs.append(np.stack([first[both], second[both]]))
    centred = np.concatenate(pairs, axis=1).astype(np.float64)
    if centred.size == 0:
        return 0.0
    centred -= centred.mean(axis=1, keepdims=True)
    spread = float(np.sqrt((centred**2).sum(axis=1).prod()))
    return float((centred[0] * centred[1]).sum()) / spread if spread > 0 else 0.0


def _centred_slices(
    scored: NDArray[np.float32],
    brain: NDArray[np.bool_],
    affine: NDArray[np.float64],
    spacing: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Resample to 1 mm in-plane (through-plane as it is, at least 1 mm) with the brain's centre in the middle."""
    step = max(1.0, spacing[2])
    depth = max(1, round(scored.shape[2] * spacing[2] / step))
    centre = affine @ np.append(centre_of(brain), 1.0)
    grid_to_world = np.diag([1.0, 1.0, step, 1.0])
    grid_to_world[:2, 3] = centre[:2] - (np.array(SLICE_SHAPE) - 1) / 2
    lowest = (affine @ np.array([0.0, 0.0, 0.0, 1.0]))[2] if depth > 1 else centre[2]
    grid_to_world[2, 3] = lowest + (step - spacing[2]) / 2
    shape = (*SLICE_SHAPE, depth)
    image = sample_onto(scored, affine, shape, grid_to_world, outside=BACKGROUND_VALUE)
    mask = sample_onto(brain.astype(np.float32), affine, shape, grid_to_world) >= 0.5
    # Interpolation mixes brain and background at the edge; what counts as brain stays clear of the background value.
    image = np.where(mask, np.maximum(image, BACKGROUND_VALUE + 0.1), np.float32(BACKGROUND_VALUE))
    areas = mask.mean(axis=(0, 1))
    chosen = (areas >= MIN_BRAIN_FRACTION) & (areas >= LARGE_SLICE * areas.max())
    return np.ascontiguousarray(np.moveaxis(image[:, :, chosen], 2, 0), dtype=np.float32)
