"""A NIfTI file on disk -> a checked volume in RAS order, and where the brain lies in it; or why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.errors import ScanError, want_of_memory
from brainspade_cli.nifti import NiftiError, open_nifti, read_values

# Of a scan; beyond it a header is damaged.
MAX_SIDE = 1024
MIN_VOXEL_MM, MAX_VOXEL_MM = 0.05, 50.0
MAX_FIELD_MM = 1000.0
MAX_DISTANCE_MM = 100_000.0
MIN_VOLUME = 1e-3
MAX_INTENSITY = 1e12
# A filled axial outline above this area (mm^2) is a head: the largest brains reach 20,000, adult heads start at 24,000.
MAX_BRAIN_AREA = 22_000.0
# A stripped scan has one background value over much of the field of view; air in a raw scan is noise.
MIN_UNIFORM_BACKGROUND = 0.2
# In label maps more of a brain's neighbours than this share have the very same value (.85 and more, also of 139 areas),
# in no scan they do (.02 to .07, of eight bits too).
MOST_EQUAL = 0.6
# Scalp, skull and the fluid below it, taken off a head's outline where no skull stripper is installed.
SKULL_MARGIN_MM = 14.0


@dataclass(frozen=True)
class Volume:
    """A scan or label map: `data` (X, Y, Z) with axes closest to RAS, `affine` voxel to RAS mm, `spacing` in mm."""

    path: Path
    data: NDArray[np.float32]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths in mm along X, Y and Z."""
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z


def read_volume(path: Path, allow_empty: bool = False) -> Volume:
    """Read a 3D NIfTI (a trailing singleton axis is dropped); raises ScanError saying what is wrong with it.

    `allow_empty`: one value everywhere is fine, as in the lesion mask of somebody who has none.
    """
    data, affine = _read(path, dimensions=3)
    if data.min() == data.max() and not allow_empty:
        what = "is all zero" if data.flat[0] == 0 else "has one value everywhere"
        raise ScanError(f"{path} {what}; there is no brain in it.")
    return Volume(path, data, affine)


def read_maps(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a 4D NIfTI of maps as (X, Y, Z, C) float32 and its affine; raises ScanError."""
    return _read(path, dimensions=4)


def _read(path: Path, dimensions: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    try:
        image = open_nifti(path)
    except NiftiError as error:
        raise ScanError(f"{path} {error}.") from error
    shape = image.shape
    while len(shape) > dimensions and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 2 and dimensions == 3:
        shape = (*shape, 1)
    if len(shape) != dimensions:
        raise ScanError(f"{path} has {len(shape)} dimensions {tuple(shape)}; a {dimensions}D image is needed.")
    if max(shape) > MAX_SIDE:
        raise ScanError(f"{path} claims the size {tuple(shape)}, more than is read here; check its header.")
    if image.get_data_dtype().kind not in "iuf":
        raise ScanError(f"{path} holds {image.get_data_dtype()} voxels; one number a voxel is needed.")
    affine, orientation = _placement(path, image.affine, shape)
    try:
        data = read_values(image, np.float32).reshape(shape)
    except NiftiError as error:
        raise ScanError(f"{path} {error}.") from error
    if not np.isfinite(data).all():
        raise ScanError(f"{path} holds NaN or infinite voxels; set them to the background value first.")
    largest = max(abs(float(data.min())), abs(float(data.max())))
    if largest > MAX_INTENSITY:
        raise ScanError(f"{path} holds values up to {largest:.0e}, which no scan has; check its scale.")
    reordered = nib.orientations.apply_orientation(data, orientation)
    return np.ascontiguousarray(reordered), affine @ nib.orientations.inv_ornt_aff(orientation, shape[:3])


def _placement(
    path: Path, affine: NDArray[np.float64] | None, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The affine and the orientation (as nibabel gives it) of a scan that lies somewhere; raises ScanError."""
    if affine is None or not np.isfinite(affine).all():
        raise ScanError(f"{path} has an affine that places no voxel (it holds NaN or is infinite); check its header.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < MIN_VOXEL_MM or spacing.max() > MAX_VOXEL_MM or (spacing * shape[:3]).max() > MAX_FIELD_MM:
        said = " x ".join(f"{side:.3g}" for side in spacing)
        raise ScanError(f"{path} claims voxels of {said} mm, which no brain scan of its size has; check its header.")
    if np.abs(affine[:3, 3]).max() > MAX_DISTANCE_MM:
        raise ScanError(f"{path} claims to lie {np.abs(affine[:3, 3]).max():.3g} mm from the origin; check its header.")
    # Of the axes' directions alone: 1 for right angles, 0 for axes in one plane.
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < MIN_VOLUME:
        raise ScanError(f"{path} has an affine that places no voxel (singular); check its header.")
    orientation = nib.orientations.io_orientation(affine)
    if np.isnan(orientation).any():
        raise ScanError(f"{path} has an affine that leaves an axis without direction; check its header.")
    return affine, orientation


def centre_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean index of a mask's voxels along each axis; unlike a list of the voxels, it takes no memory."""
    axes = range(mask.ndim)
    counts = [mask.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]
    return np.array([np.average(np.arange(len(count)), weights=count) for count in counts])


def require_contrast(volume: Volume, brain: NDArray[np.bool_]) -> None:
    """Raise ScanError where a brain has one value throughout, as a mask does, or areas of one value, as a label map."""
    inside = volume.data[brain]
    if not inside.size or inside.min() == inside.max():
        raise ScanError(f"{volume.path} has one value all over the brain, as a mask has; give a scan.")
    neighbours = brain[1:] & brain[:-1]
    equal = np.count_nonzero((volume.data[1:] == volume.data[:-1]) & neighbours)
    share = equal / max(1, int(np.count_nonzero(neighbours)))
    if share > MOST_EQUAL:
        raise ScanError(
            f"{volume.path} has areas of one value ({share:.0%} of neighbours are equal), as a label map has; "
            "give a scan."
        )


def sample_onto(
    data: NDArray[np.float32],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    grid_to_world: NDArray[np.float64],
    order: int = 1,
    outside: float = 0.0,
) -> NDArray[np.float32]:
    """Sample `data` (X, Y, Z) at the voxels of a grid.

    `grid_to_world` (4 x 4) takes grid voxels to the RAS mm of the data; `order` is the spline order (1 for maps and
    labels, 3 for images), `outside` the value beyond the data's edges.
    """
    matrix = np.linalg.inv(affine) @ grid_to_world
    return ndimage.affine_transform(
        data, matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=order, mode="constant", cval=outside
    ).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Foreground:
    """What lies in a scan: `mask` (X, Y, Z) of head or brain, the `background` value, and whether a skull is on."""

    mask: NDArray[np.bool_]
    background: float
    skull: bool


def find_foreground(volume: Volume) -> Foreground:
    """Tell foreground from background and a head from a stripped brain; raises ScanError where there is neither.

    A scan counts as stripped when one value fills much of its field of view and its largest axial outline is no
    larger than a brain.
    """
    values, counts = np.unique(volume.data, return_counts=True)
    mode = float(values[counts.argmax()])
    uniform = counts.max() / volume.data.size
    if uniform >= MIN_UNIFORM_BACKGROUND:
        background = mode
        mask = volume.data > mode if mode <= values[0] else volume.data != mode
    else:
        background = float(values[0])
        mask = volume.data > values[0] + 0.1 * (np.percentile(volume.data, 99.5) - values[0])
        mask = ndimage.binary_opening(mask)
    mask = _largest_component(mask)
    pixel = volume.spacing[0] * volume.spacing[1]
    filled = np.stack([ndimage.binary_fill_holes(mask[..., k]) for k in range(mask.shape[2])], axis=-1)
    areas = filled.sum(axis=(0, 1)) * pixel
    if areas.max() < 1_000.0:
        raise ScanError(f"{volume.path} shows no brain: its largest axial outline has {areas.max():.0f} mm2.")
    skull = uniform < MIN_UNIFORM_BACKGROUND or bool(areas.max() > MAX_BRAIN_AREA)
    return Foreground(filled, background, skull)


def strip_skull(volume: Volume, foreground: Foreground) -> tuple[NDArray[np.bool_], bool]:
    """Brain mask (X, Y, Z) of a head, and whether a skull stripper made it.

    With the extra `strip` (deepbet) the mask is the network's. Without, the head's outline is drawn in by
    `SKULL_MARGIN_MM`, which leaves the middle of the brain: enough for a style, not for a segmentation. Raises
    ScanError where the network fails.
    """
    try:
        from deepbet.bet import BrainExtraction
    except ImportError:
        return _shrink(foreground.mask, volume.spacing), False
    image = nib.Nifti1Image(volume.data, volume.affine)
    try:
        _, mask, _ = BrainExtraction(no_gpu=True).run(image)
    except Exception as error:  # of whatever kind: it is another's network, and the next scan may suit it
        if want_of_memory(error) is not None:
            raise
        raise ScanError(f"{volume.path} could not be stripped of its skull ({error}); strip it first.") from error
    brain = np.asarray(mask.dataobj) > 0
    if brain.sum() * np.prod(volume.spacing) < 100_000.0:
        return _shrink(foreground.mask, volume.spacing), False
    return brain, True


def _shrink(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    distance = np.stack(
        [ndimage.distance_transform_edt(mask[..., k], sampling=spacing[:2]) for k in range(mask.shape[2])], axis=-1
    )
    return distance > SKULL_MARGIN_MM


def above_zero(data: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The data lifted so that the brain lies above zero, where it goes below, as after z-scoring; else as they are."""
    values = data[brain]
    low = float(values.min())
    return data if low >= 0 else data + np.float32(0.01 * (float(values.max()) - low) - low)


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def normalise(
    data: NDArray[np.float32], brain: NDArray[np.bool_], background: float
) -> tuple[NDArray[np.float32], float, float]:
    """Z-score `data` over `brain`; outside it becomes `background`. Returns the array, and the brain's mean and SD.

    Brain values are kept above `background`, so that a mask can be read back from the result.
    """
    values = data[brain]
    mean = float(values.mean(dtype=np.float64))
    deviation = max(float(values.std(dtype=np.float64)), 1e-6 * abs(mean), float(np.finfo(np.float32).tiny))
    scored = np.clip((data - mean) / deviation, background + 0.1, 10.0)
    return np.where(brain, scored, np.float32(background)).astype(np.float32), mean, deviation
