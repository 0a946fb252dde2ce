"""Brains made of ellipsoids, written as NIfTI files: what tests feed in where no scan of anyone is needed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

# FAST numbers, and the brightness that a T1 gives them.
CSF, GM, WM = 1, 2, 3
T1_BRIGHTNESS = np.array([0.0, 40.0, 90.0, 140.0], np.float32)


def tissue_phantom(spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), seed: int = 0) -> NDArray[np.uint8]:
    """Tissue labels (X, Y, Z) of an ellipsoid brain of 130 x 160 x 110 mm: white in grey in CSF, and two ventricles."""
    size = np.ceil(np.array([150.0, 180.0, 130.0]) / spacing).astype(int)
    axes = [(np.arange(n) + 0.5) * step - n * step / 2 for n, step in zip(size, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    wobble = 1 + 0.02 * np.sin(x / (6 + seed % 3)) * np.sin(y / 7)
    radius = np.sqrt((x / 65) ** 2 + (y / 80) ** 2 + (z / 55) ** 2) * wobble
    labels = np.zeros(tuple(size), np.uint8)
    labels[radius < 1.0] = CSF
    labels[radius < 0.93] = GM
    labels[radius < 0.75] = WM
    for side in (-1, 1):
        labels[np.sqrt(((x - side * 12) / 6) ** 2 + (y / 25) ** 2 + (z / 12) ** 2) < 1] = CSF
    return labels


def t1_of(labels: NDArray[np.uint8], seed: int = 0) -> NDArray[np.float32]:
    """A noisy T1 of a tissue phantom, zero outside the brain."""
    noise = np.random.default_rng(seed).normal(0, 4, labels.shape)
    return np.where(labels > 0, np.clip(T1_BRIGHTNESS[labels] + noise, 1, None), 0).astype(np.float32)


def affine_of(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Affine of a RAS array of that size with its middle at the origin."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape[:3]) - 1) / 2 * np.asarray(spacing)
    return affine


def save(
    path: Path, data: NDArray[np.generic], spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), axes: str = "RAS"
) -> Path:
    """Write a RAS array to `path`, stored in the axis order `axes` (the same brain in the same place)."""
    image = nib.Nifti1Image(data, affine_of(data.shape, spacing))
    target = nib.orientations.axcodes2ornt(tuple(axes))
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine), target))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(turned, path)
    return path
