"""One file from one raw dataset into another: copied where it can stay as it is, else relabelled or in a new format."""

from __future__ import annotations

import gzip
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import DatasetError
from brainspade_cli.nifti import NiftiError, open_nifti, read_blocks
from brainspade_cli.nnunet.distinct import blocks_of, distinct_values
from brainspade_cli.nnunet.planes import COMPRESSION, NIFTI, encode_plane, read_plane, whole_file, write_whole
from brainspade_cli.nnunet.tasks import UNDECLARED
from brainspade_cli.reading import require_plain

# Of a copy, at a time.
PIECE = 2**20


def transfer_image(source: Path, target: Path, source_ending: str, target_ending: str) -> None:
    """Copy an image, or change the format of a slice; volumes and colours keep theirs (DatasetError)."""
    if source_ending == target_ending:
        _copy(source, target)
        return
    plane, height = read_plane(source)
    limit = np.iinfo(np.int16).max
    # NaN is not within anything.
    is_within = plane.min() >= 0 and plane.max() <= limit
    whole = plane.astype(np.int16) if is_within else plane
    if not is_within or not np.array_equal(whole, plane):
        raise DatasetError(
            f"{source} holds more than whole numbers from 0 to {limit}, so its format cannot be changed."
        )
    write_whole(target, encode_plane(whole, height, target_ending))


def transfer_label(
    source: Path, target: Path, source_ending: str, target_ending: str, lookup: NDArray[np.uint8]
) -> None:
    """Copy a label, its values exchanged by `lookup` (256 entries); the geometry of a volume stays.

    Raises DatasetError for values that the lookup does not know, and for volumes or colours that would change format.
    """
    if source_ending == target_ending and keeps_values(lookup):
        _copy(source, target)
    elif source_ending == target_ending == NIFTI:
        _relabel_nifti(source, target, lookup)
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
    found = distinct_values(blocks_of(values)).tolist()
    unknown = [value for value in found if value not in range(UNDECLARED) or lookup[int(value)] == UNDECLARED]
    if unknown:
        listed = ", ".join(f"{value:g}" for value in unknown[:5])
        raise DatasetError(f"{path} holds the value {listed}, which its dataset.json does not declare.")
    return lookup[values.astype(np.uint8)]


def label_values(path: Path) -> frozenset[int]:
    """Values in a label file, of more than 65,536 the lowest; raises DatasetError where it cannot be read."""
    with _named(path):
        blocks = read_blocks(_open_label(path)) if path.name.endswith(NIFTI) else blocks_of(read_plane(path)[0])
        found = distinct_values(blocks)
    if not np.isfinite(found).all():
        raise DatasetError(f"{path} holds pixels that are no labels ({found.dtype}); convert it first.")
    return frozenset(int(value) for value in found)


def _relabel_nifti(source: Path, target: Path, lookup: NDArray[np.uint8]) -> None:
    with _named(source):
        image = _open_label(source)
        changed = np.empty(math.prod(image.shape), np.uint8)
        done = 0
        for block in read_blocks(image):
            changed[done : done + len(block)] = relabel(block, lookup, source)
            done += len(block)
    made = type(image)(changed.reshape(image.shape, order="F"), None, image.header)
    made.header.set_data_dtype(np.uint8)
    made.header.set_slope_inter(1, 0)
    with whole_file(target) as file, gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed:
        made.to_stream(packed)


def _open_label(path: Path) -> Any:
    """A NIfTI of numbers, opened; raises NiftiError and DatasetError."""
    image = open_nifti(path)
    dtype = image.get_data_dtype()
    if dtype.kind not in "buif":
        raise DatasetError(f"{path} holds pixels that are no labels ({dtype}); convert it first.")
    return image


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise what is wrong with a file as a DatasetError that names it."""
    try:
        yield
    except NiftiError as error:
        raise DatasetError(f"{path} {error}.") from error


def _copy(source: Path, target: Path) -> None:
    try:
        require_plain(source)
        file = open(source, "rb")  # noqa: SIM115 (what goes wrong while writing is not the source's)
    except OSError as error:
        raise DatasetError(f"{source} cannot be read ({error}).") from error
    with file, whole_file(target) as copy:
        shutil.copyfileobj(file, copy, PIECE)
