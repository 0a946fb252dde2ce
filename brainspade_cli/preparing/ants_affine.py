"""ANTs' linear registration of one volume to another, asked and answered in RAS mm."""

from __future__ import annotations

import tempfile

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import ScanError
from brainspade_cli.preparing.volumes import Volume

# Half the resolution of most scans: channels come out within 0.15 mm of where they do at 1 mm, four times as fast.
WORKING_MM = 2.0
RIGID_ITERATIONS = 60


def find_affine(fixed: Volume, moving: Volume) -> NDArray[np.float64]:
    """World-to-world transform (4 x 4) from mm of `fixed` to mm of `moving`: an affine, from nothing but the images.

    Both are stripped brains, zero outside. The search starts where the centres of mass fall together. Raises ScanError,
    naming `moving`, where ANTs fails.
    """
    images = _coarse(_image(fixed)), _coarse(_image(moving))
    return _register(*images, moving, type_of_transform="Affine")


def refine_rigid(fixed: Volume, moving: Volume, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same (4 x 4) for two scans of one person: a turn and a shift, from where the headers place them.

    Only voxels of `fixed` that are `inside` (X, Y, Z) count, by mutual information, for contrasts differ; nothing is
    smoothed, so that no edge outside of them has a say. Raises ScanError, naming `moving`, where ANTs fails.
    """
    mask = Volume(fixed.path, inside.astype(np.float32), fixed.affine)
    return _register(
        _coarse(_image(fixed)),
        _image(moving),
        moving,
        type_of_transform="Rigid",
        mask=_coarse(_image(mask), nearest=True),
        initial_transform="Identity",
        aff_iterations=(RIGID_ITERATIONS,),
        aff_shrink_factors=(1,),
        aff_smoothing_sigmas=(0,),
    )


def _register(fixed: object, moving: object, scan: Volume, **settings: object) -> NDArray[np.float64]:
    import ants

    with tempfile.TemporaryDirectory() as folder:
        try:
            result = ants.registration(fixed, moving, outprefix=f"{folder}/", random_seed=1, **settings)
        except RuntimeError as error:
            raise ScanError(f"{scan.path} could not be aligned ({error}).") from error
        return world_matrix(ants.read_transform(result["fwdtransforms"][0]))


def _coarse(image: object, nearest: bool = False) -> object:
    import ants

    return ants.resample_image(image, (WORKING_MM,) * 3, interp_type=1 if nearest else 0)


def _image(volume: Volume) -> object:
    """An ANTs image from RAS data; ANTs counts in LPS, where x and y point the other way."""
    import ants

    lps = np.diag([-1.0, -1.0, 1.0]) @ volume.affine[:3, :]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    origin, direction = lps[:, 3].tolist(), lps[:, :3] / spacing
    return ants.from_numpy(volume.data, origin=origin, spacing=spacing.tolist(), direction=direction)


def world_matrix(transform: object) -> NDArray[np.float64]:
    """ANTs affine (y = A (x - c) + c + t, LPS) as a 4 x 4 matrix in RAS mm."""
    parameters = np.asarray(transform.parameters, dtype=np.float64)  # type: ignore[attr-defined]
    centre = np.asarray(transform.fixed_parameters, dtype=np.float64)[:3]  # type: ignore[attr-defined]
    linear = parameters[:9].reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = parameters[9:] + centre - linear @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ matrix @ flip
