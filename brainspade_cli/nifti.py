"""Opening NIfTI files that anybody may have written: what a header claims is checked before anything is allocated.

nibabel believes a header: it would fill gigabytes for a file of 300 bytes that claims them, or for an extension of
negative length. Here the header alone is read, and its claims are held against bounds and against the file's size.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainspade_cli.reading import require_plain

# No more than this is read from one file: 512 x 512 x 512 voxels of 8 bytes. With the copies that finding a brain
# takes, one scan stays below 4 GiB (2.7 were measured, for a whole head of that size).
MAX_BYTES = 2**30
# Where the voxels may start: 352 bytes of header, and the extensions that some programs add.
MAX_OFFSET = 2**24
# Deflate makes nothing shorter than by this factor, so that a file's size bounds its content's.
DEFLATE = 1040
_HEADERS = ((nib.Nifti1Header, nib.Nifti1Image), (nib.Nifti2Header, nib.Nifti2Image))


class NiftiError(ValueError):
    """What is wrong with a file, in words that follow its name."""


def open_nifti(path: Path) -> Any:
    """A nibabel image whose voxels have not been read, of a .nii or .nii.gz file; its extensions are left out.

    Raises NiftiError for what is no such file, and for a header that cannot be, or claims more than `MAX_BYTES` or
    than the file may hold.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        size = require_plain(path)
        with gzip.open(path) if packed else open(path, "rb") as file:
            head = file.read(nib.Nifti2Header.sizeof_hdr)
    except FileNotFoundError as error:
        raise NiftiError("does not exist") from error
    except Exception as error:  # gzip raises a handful of types for damaged streams
        raise NiftiError("is not a NIfTI file that can be read; give a .nii or .nii.gz file") from error
    kinds = [kind for kind in _HEADERS if kind[0].may_contain_header(head)]
    if not kinds:
        raise NiftiError("is not a NIfTI file; give a .nii or .nii.gz file")
    kind, image = kinds[0]
    try:
        header = kind(head[: kind.sizeof_hdr])
        shape, voxel, offset = header.get_data_shape(), header.get_data_dtype().itemsize, header.get_data_offset()
    except Exception as error:  # a damaged header makes nibabel raise a dozen types, of no common family
        raise NiftiError(f"is not a NIfTI file that can be read ({_line(error)})") from error
    if not shape or min(shape) < 1 or math.prod(map(int, shape)) * voxel > MAX_BYTES:
        raise NiftiError(f"claims the size {tuple(map(int, shape))}, more than is read here; check its header")
    if not kind.sizeof_hdr <= offset <= MAX_OFFSET:
        raise NiftiError(f"claims that its voxels start at byte {offset}; check its header")
    if offset + math.prod(map(int, shape)) * voxel > size * (DEFLATE if packed else 1):
        raise NiftiError("ends early: it is shorter than its header claims; copy or download it again")
    try:
        # An affine of NaN is for whoever needs one to refuse; here it would only make numpy warn.
        with np.errstate(all="ignore"):
            proxy = nib.arrayproxy.ArrayProxy(str(path), header, mmap=False)
            return image(proxy, header.get_best_affine(), header)
    except Exception as error:  # as above
        raise NiftiError(f"is not a NIfTI file that can be read ({_line(error)})") from error


def read_values(image: Any, dtype: DTypeLike = None) -> NDArray[Any]:
    """The voxels of what `open_nifti` gave, scaled as its header says; raises NiftiError for a damaged file."""
    try:
        # A scale that overflows leaves infinite voxels, which whoever asks must look for anyway.
        with np.errstate(all="ignore"):
            return np.asarray(image.dataobj) if dtype is None else np.asarray(image.dataobj, dtype=dtype)
    except Exception as error:  # gzip, zlib and nibabel have no common family
        raise NiftiError(f"ends early or is damaged ({_line(error)}); copy or download it again") from error


def _line(error: Exception) -> str:
    """The first line of what an exception says, or its name."""
    return next(iter(str(error).splitlines()), "").split(" from /")[0].strip() or type(error).__name__
