"""One slice as the bytes of a file, and back: gzipped NIfTI of shape (X, Y, 1), or grey PNG of shape (Y, X).

Both hold the same picture to nnU-Net, whose readers see (1, Y, X) either way.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from brainspade_cli.errors import DatasetError
from brainspade_cli.geometry import grid_affine
from brainspade_cli.nifti import NiftiError, open_nifti, read_values
from brainspade_cli.reading import require_plain

NIFTI = ".nii.gz"
PNG = ".png"
# MRI slices are nearly incompressible noise: level 6 takes twice the time of level 1 and saves 2 %.
COMPRESSION = 1
# A side of a slice, in either format; one beyond it is damaged, or a bomb.
MAX_SIDE = 4096
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# Everything that damaged or foreign bytes make the two readers raise (NiftiError is a ValueError).
READ_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    OverflowError,
    zlib.error,
    struct.error,
)


def encode_nifti(plane: NDArray[Any], z_mm: float) -> bytes:
    """Encode a plane (X, Y) as a gzipped NIfTI of shape (X, Y, 1), 1 mm, RAS; the same bytes for the same input.

    nnU-Net slices along the axis of the largest spacing, the last one of nibabel's where all are equal; so the third
    must not be smaller than the other two. Image and label of a case get the same geometry, field for field.
    """
    header = _header(plane.shape, plane.dtype).copy()
    header["qoffset_z"] = header["srow_z"][3] = z_mm
    # The header's four bytes after itself say that no extension follows; voxels go first axis fastest.
    voxels = np.ascontiguousarray(plane.T).tobytes()
    return gzip.compress(header.binaryblock + bytes(4) + voxels, COMPRESSION, mtime=0)


@cache
def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Nifti1Header:
    """The header of planes of a shape and type at height 0, as nibabel writes it; that takes half a millisecond."""
    image = Nifti1Image(np.zeros((*shape, 1), dtype), None)
    image.header.set_xyzt_units("mm")
    affine = grid_affine()
    affine[2, 3] = 0.0
    image.header.set_sform(affine, code="aligned")
    image.header.set_qform(affine, code="aligned")
    return Nifti1Header(image.to_bytes()[: Nifti1Header.sizeof_hdr])


def encode_png(plane: NDArray[Any], z_mm: float) -> bytes:
    """Encode a plane (X, Y) as a grey PNG (Y, X), 8 bit for uint8 and 16 bit for int16 (nowhere negative).

    The height goes into a text chunk, so that a change of format back to NIfTI loses nothing.
    """
    pixels = np.ascontiguousarray(plane.T)
    picture = Image.fromarray(pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16))
    notes = PngInfo()
    notes.add_text("z_mm", repr(float(z_mm)))
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=COMPRESSION, pnginfo=notes)
    return buffer.getvalue()


def encode_plane(plane: NDArray[Any], z_mm: float, file_ending: str) -> bytes:
    """Encode a plane in the format that `file_ending` names."""
    return encode_nifti(plane, z_mm) if file_ending == NIFTI else encode_png(plane, z_mm)


def read_plane(path: Path) -> tuple[NDArray[Any], float]:
    """Read a slice of either format: its values (X, Y), and its height in mm (0 where the file does not say).

    Raises DatasetError for a file that cannot be read, a volume of several slices, or a colour picture; its header
    tells, before anything is read.
    """
    try:
        if path.name.endswith(PNG):
            with open_picture(path) as picture:
                # A palette holds colours, though its array has two dimensions.
                shape = (*picture.size, len(picture.getbands())) if picture.mode != "P" else (*picture.size, 3)
                height = float(getattr(picture, "text", {}).get("z_mm", 0.0))
                _require_slice(path, shape)
                values = np.asarray(picture).T
        else:
            image = open_nifti(path)
            shape, height = image.shape, float(image.affine[2, 3])
            _require_slice(path, shape, image.get_data_dtype())
            values = read_values(image)
    except NiftiError as error:
        raise DatasetError(f"{path} {error}.") from error
    except READ_ERRORS as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error
    if not math.isfinite(height):
        raise DatasetError(f"{path} lies at a height that is no number; mend its header, or leave --format out.")
    return values.reshape(shape[:2]), height


def _require_slice(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> None:
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,)) or np.dtype(dtype).kind not in "buif":
        raise DatasetError(f"{path} is no single grey slice: it has shape {shape}; give slices, one a file.")
    if max(shape) > MAX_SIDE:
        raise DatasetError(f"{path} is no slice: it claims {shape[0]} x {shape[1]} pixels; check its header.")


def open_picture(path: Path) -> Image.Image:
    """Open a PNG and nothing else, whatever its name says; raises OSError, and ValueError for other files and bombs."""
    require_plain(path)
    with open(path, "rb") as file:
        head = file.read(24)
    size = struct.unpack(">II", head[16:]) if head.startswith(PNG_HEAD) and len(head) == 24 else ()
    if not size:
        raise ValueError("it is no PNG")
    if max(size) > MAX_SIDE:
        raise ValueError(f"it claims {size[0]} x {size[1]} pixels")
    # Other formats have readers that run programs, and Pillow goes by the content.
    return Image.open(path, formats=("PNG",))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, under a temporary name that nnU-Net does not take for an image; then flushed and renamed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file as `whole_file` does."""
    with whole_file(path) as file:
        file.write(data)
