"""The grid that every slice lives on: axial, RAS, 1 mm, 192 x 256 (x by y); MNI152 where a scan is aligned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLICE_SHAPE = (192, 256)
GRID_SHAPE = (*SLICE_SHAPE, 160)
# World (RAS, mm) of voxel (0, 0, 0). The x-y centre of the grid is (0, -18), the middle of the MNI152 brain.
GRID_ORIGIN = (-95.5, -145.5, -72.0)
BRAIN_CENTRE = (0.0, -18.0, 6.0)
MIN_BRAIN_FRACTION = 0.10
MIN_TUMOUR_PIXELS = 20
# Pixels that touch at a corner hang together, where pieces of a slice (X, Y) are told apart.
DIAGONALS_TOO = np.ones((3, 3), bool)


def grid_affine() -> NDArray[np.float64]:
    """Affine (4 x 4, voxel to RAS mm) of the canonical grid: identity scale, `GRID_ORIGIN` as its translation."""
    affine = np.eye(4)
    affine[:3, 3] = GRID_ORIGIN
    return affine


def slice_position(k: int) -> float:
    """Height of grid slice `k` in mm (MNI152 z where the scan is aligned)."""
    return GRID_ORIGIN[2] + k


def position_fraction(z_mm: float) -> float:
    """Height in mm as a fraction of the grid, 0 at its lowest slice and 1 at its highest: the denoisers' condition."""
    return (z_mm - GRID_ORIGIN[2]) / (GRID_SHAPE[2] - 1)
