"""Opening NIfTI files that anybody may have written: what a header claims is checked before anything is allocated.

nibabel believes a header: it would fill gigabytes for a file of 300 bytes that claims them, or for an extension of
negative length. Here the header alone is read, and its claims are held against bounds and against the file's size.
Voxels are read and scaled in blocks, so that what is returned is all that they take.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainspade_cli.reading import require_plain

# Of one volume; with the copies that finding a brain takes, a scan of so many stays below 4 GiB (2.7 were measured, for
# a whole head). Voxels are counted and not bytes: a byte with a slope takes four once it is read.
MAX_VOXELS = 512**3
# Of all volumes of a file together: eight maps at 0.7 mm hold 170 million.
MAX_VALUES = 2 * MAX_VOXELS
# Voxels that are read and scaled at a time.
BLOCK = 2**20
# Where the voxels may start: 352 bytes of header, and the extensions that some programs add.
MAX_OFFSET = 2**24
# Deflate makes nothing shorter than by this factor, so that a file's size bounds its content's.
DEFLATE = 1040
_GZIP = b"\x1f\x8b"
_HEADERS = ((nib.Nifti1Header, nib.Nifti1Image), (nib.Nifti2Header, nib.Nifti2Image))


class NiftiError(ValueError):
    """What is wrong with a file, in words that follow its name."""


def open_nifti(path: Path) -> Any:
    """A nibabel image whose voxels have not been read, of a .nii or .nii.gz file; its extensions are left out.

    Raises NiftiError for what is no such file, and for a header that cannot be, or claims more than `MAX_VOXELS`,
    `MAX_VALUES` or the file may hold.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        size = require_plain(path)
        with gzip.open(path) if packed else open(path, "rb") as file:
            head = file.read(nib.Nifti2Header.sizeof_hdr)
    except FileNotFoundError as error:
        raise NiftiError("does not exist") from error
    except MemoryError:
        raise
    except Exception as error:  # gzip raises a handful of types for damaged streams
        raise NiftiError(
            _misnamed(path) or "is not a NIfTI file that can be read; give a .nii or .nii.gz file"
        ) from error
    kinds = [kind for kind in _HEADERS if kind[0].may_contain_header(head)]
    if not kinds:
        raise NiftiError(_misnamed(path) or "is not a NIfTI file; give a .nii or .nii.gz file")
    kind, image = kinds[0]
    with _parsing():
        header = kind(head[: kind.sizeof_hdr])
        shape = tuple(map(int, header.get_data_shape()))
        voxel, offset = header.get_data_dtype().itemsize, header.get_data_offset()
    if not shape or min(shape) < 1:
        raise NiftiError(f"holds nothing, its size being {shape}")
    if math.prod(shape[:3]) > MAX_VOXELS or math.prod(shape) > MAX_VALUES:
        raise NiftiError(f"claims the size {shape}, more than is read here; check its header")
    if not kind.sizeof_hdr <= offset <= MAX_OFFSET:
        raise NiftiError(f"claims that its voxels start at byte {offset}; check its header")
    if offset + math.prod(shape) * voxel > size * (DEFLATE if packed else 1):
        raise NiftiError("ends early: it is shorter than its header claims; copy or download it again")
    # An affine of NaN is for whoever needs one to refuse; here it would only make numpy warn.
    with _parsing(), np.errstate(all="ignore"):
        proxy = nib.arrayproxy.ArrayProxy(str(path), header, mmap=False)
        return image(proxy, header.get_best_affine(), header)


def read_values(image: Any, dtype: DTypeLike = None) -> NDArray[Any]:
    """The voxels of what `open_nifti` gave, first axis fastest, of the type that `read_blocks` gives them.

    Raises NiftiError for a damaged file, and MemoryError, which names the file, where there is no room for them.
    """
    wanted = _dtype(image.dataobj, dtype)
    with _reading(image.dataobj.file_like):
        values = np.empty(math.prod(image.shape), wanted)
    done = 0
    for block in read_blocks(image, wanted):
        values[done : done + len(block)] = block
        done += len(block)
    return values.reshape(image.shape, order="F")


def read_blocks(image: Any, dtype: DTypeLike = None) -> Iterator[NDArray[Any]]:
    """The voxels as `read_values` gives them, up to `BLOCK` at a time in the order of the file, scaled by its header.

    They are of `dtype`; where that is None, float32 if the header scales them, as SimpleITK has it, else as stored.
    Raises what `read_values` does.
    """
    proxy = image.dataobj
    wanted, count, path = _dtype(proxy, dtype), math.prod(image.shape), str(proxy.file_like)
    opened: Any = gzip.open if path.lower().endswith(".gz") else open
    with _reading(path):
        file = opened(path, "rb")
    with file:
        for start in range(0, count, BLOCK):
            with _reading(path):
                place = proxy.offset + start * proxy.dtype.itemsize
                part = ((min(BLOCK, count - start),), proxy.dtype, place, proxy.slope, proxy.inter)
                block = np.asarray(nib.arrayproxy.ArrayProxy(file, part, mmap=False), dtype=wanted)
            yield block


def _misnamed(path: Path) -> str:
    """What is said of a NIfTI file whose name has it the wrong way whether it is compressed; nothing of any other."""
    head = b""
    with suppress(OSError):
        require_plain(path)
        with open(path, "rb") as file:
            head = file.read(nib.Nifti2Header.sizeof_hdr)
    if path.name.lower().endswith(".gz"):
        is_plain = any(kind.may_contain_header(head) for kind, _ in _HEADERS)
        return "is not compressed, though its name ends in .gz; name it .nii" if is_plain else ""
    return "is compressed, though its name does not end in .gz; name it .nii.gz" if head.startswith(_GZIP) else ""


def _dtype(proxy: Any, dtype: DTypeLike) -> np.dtype[Any]:
    if dtype is not None:
        return np.dtype(dtype)
    stored: np.dtype[Any] = proxy.dtype
    is_scaled = (proxy.slope, proxy.inter) != (1, 0) and stored.kind in "iuf"
    return np.dtype(np.float32) if is_scaled else stored


@contextmanager
def _parsing() -> Iterator[None]:
    """Say of a damaged header, at which nibabel raises a dozen types of no common family, what nibabel says."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise NiftiError(f"is not a NIfTI file that can be read ({_line(error)})") from error


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Tell a damaged file from want of memory."""
    try:
        # A scale that overflows leaves infinite voxels, which whoever asks must look for anyway.
        with np.errstate(all="ignore"):
            yield
    except MemoryError as error:
        raise MemoryError(path) from error
    except Exception as error:  # gzip, zlib and nibabel have no common family
        raise NiftiError(f"ends early or is damaged ({_line(error)}); copy or download it again") from error


def _line(error: Exception) -> str:
    """The first line of what an exception says, or its name."""
    return next(iter(str(error).splitlines()), "").split(" from /")[0].strip() or type(error).__name__
