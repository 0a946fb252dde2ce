"""Where a scan lies on the grid: an affine alignment to MNI152 with ANTs, or a shift that centres the brain."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import InputError, ScanError
from brainspade_cli.geometry import BRAIN_CENTRE, GRID_SHAPE, grid_affine
from brainspade_cli.preparing.ants_affine import find_affine
from brainspade_cli.preparing.volumes import Volume, centre_of, sample_onto

# Two aligned adult brains overlap with a Dice of 0.93 and more; below this the alignment went wrong.
MIN_OVERLAP = 0.85


def require_alignment() -> None:
    """Raise InputError where what an alignment needs is not installed."""
    if any(find_spec(package) is None for package in ("ants", "nilearn")):
        raise InputError(
            "Aligning to MNI152 needs the extra `brainspade[register]` (antspyx, nilearn); install it, or give "
            "--no-register to centre the brains instead."
        )


def centring(brain: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """World-to-world transform (4 x 4) from grid mm to scan mm that puts the brain's centre at MNI152's.

    Shifts by whole voxels where the scan is 1 mm already, so that nothing is interpolated without need.
    """
    centre = (affine @ np.append(centre_of(brain), 1.0))[:3]
    start = affine[:3, 3]
    target = np.asarray(BRAIN_CENTRE) - grid_affine()[:3, 3]
    first_voxel = start + np.round(centre - start - target)
    transform = np.eye(4)
    transform[:3, 3] = first_voxel - grid_affine()[:3, 3]
    return transform


class Template:
    """The MNI152 T1 brain (ICBM 2009a symmetric, 1 mm, stripped) that nilearn ships, for ANTs."""

    @cached_property
    def image(self) -> Volume:
        """The template at 1 mm."""
        from nilearn.datasets import load_mni152_template

        template = load_mni152_template(resolution=1)
        return Volume(Path("MNI152"), np.asarray(template.dataobj, dtype=np.float32), np.asarray(template.affine))

    @cached_property
    def on_grid(self) -> NDArray[np.float32]:
        """The template sampled on the canonical grid."""
        return sample_onto(self.image.data, self.image.affine, GRID_SHAPE, grid_affine())

    def align(self, moving: NDArray[np.float32], affine: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
        """World-to-world transform (4 x 4) from MNI152 mm to scan mm, found by ANTs' affine at 2 mm.

        `moving` is a stripped brain (zero outside). Raises ScanError, naming `path`, where the brains do not overlap.
        """
        transform = find_affine(self.image, Volume(path, moving, affine))
        aligned = sample_onto(moving, affine, GRID_SHAPE, transform @ grid_affine()) > 0
        brain = self.on_grid > 0
        overlap = 2 * (aligned & brain).sum() / (aligned.sum() + brain.sum())
        if overlap < MIN_OVERLAP:
            raise ScanError(
                f"{path} could not be aligned to MNI152 (brain overlap {overlap:.2f}, at least {MIN_OVERLAP} is "
                "needed); check that it shows a whole brain, or give --no-register."
            )
        return transform
