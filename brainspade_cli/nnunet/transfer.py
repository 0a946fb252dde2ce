"""One file from one raw dataset into another: copied where it can stay as it is, else relabelled or in a new format."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import DatasetError
from brainspade_cli.nifti import MAX_BYTES, NiftiError, open_nifti, read_values
from brainspade_cli.nnunet.planes import COMPRESSION, NIFTI, encode_plane, read_plane, write_whole
from brainspade_cli.nnunet.tasks import UNDECLARED
from brainspade_cli.reading import read_bytes


def transfer_image(source: Path, target: Path, source_ending: str, target_ending: str) -> None:
    """Copy an image, or change the format of a slice; volumes and colours keep theirs (DatasetError)."""
    if source_ending == target_ending:
        write_whole(target, _bytes(source))
        return
    plane, height = read_plane(source)
    whole = np.rint(plane)
    limit = np.iinfo(np.int16).max
    if not np.array_equal(whole, plane) or whole.min() < 0 or whole.max() > limit:
        raise DatasetError(
            f"{source} holds more than whole numbers from 0 to {limit}, so its format cannot be changed."
        )
    write_whole(target, encode_plane(whole.astype(np.int16), height, target_ending))


def transfer_label(
    source: Path, target: Path, source_ending: str, target_ending: str, lookup: NDArray[np.uint8]
) -> None:
    """Copy a label, its values exchanged by `lookup` (256 entries); the geometry of a volume stays.

    Raises DatasetError for values that the lookup does not know, and for volumes or colours that would change format.
    """
    if source_ending == target_ending and keeps_values(lookup):
        write_whole(target, _bytes(source))
    elif source_ending == target_ending == NIFTI:
        write_whole(target, _relabelled_nifti(source, lookup))
    else:
        plane, height = read_plane(source)
        write_whole(target, encode_plane(relabel(plane, lookup, source), height, target_ending))


def keeps_values(lookup: NDArray[np.uint8]) -> bool:
    """Whether a lookup leaves every value that it knows as it is."""
    known = lookup != UNDECLARED
    return np.array_equal(lookup[known], np.arange(len(lookup))[known])


def relabel(values: NDArray[Any], lookup: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Exchange label values; raises DatasetError, naming `path`, for values that the lookup does not know."""
    if values.dtype.kind not in "buif":
        raise DatasetError(f"{path} holds {values.dtype} pixels, and labels are whole numbers; convert it first.")
    found = np.unique(values)
    unknown = [value for value in found.tolist() if value not in range(UNDECLARED) or lookup[int(value)] == UNDECLARED]
    if unknown:
        listed = ", ".join(f"{value:g}" for value in unknown[:5])
        raise DatasetError(f"{path} holds the value {listed}, which its dataset.json does not declare.")
    return lookup[values.astype(np.uint8)]


def label_values(path: Path) -> frozenset[int]:
    """Values in a label file; raises DatasetError where it cannot be read."""
    values = _nifti(path)[1] if path.name.endswith(NIFTI) else read_plane(path)[0]
    if values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise DatasetError(f"{path} holds pixels that are no labels ({values.dtype}); convert it first.")
    return frozenset(int(value) for value in np.unique(values))


def _relabelled_nifti(path: Path, lookup: NDArray[np.uint8]) -> bytes:
    image, values = _nifti(path)
    changed = type(image)(relabel(values, lookup, path), None, image.header)
    changed.header.set_data_dtype(np.uint8)
    changed.header.set_slope_inter(1, 0)
    return gzip.compress(changed.to_bytes(), COMPRESSION, mtime=0)


def _nifti(path: Path) -> tuple[Any, NDArray[Any]]:
    try:
        image = open_nifti(path)
        return image, read_values(image)
    except NiftiError as error:
        raise DatasetError(f"{path} {error}.") from error


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error
