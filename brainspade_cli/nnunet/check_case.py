"""One case of a raw dataset, read and checked as nnU-Net's readers would see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainspade_cli.nifti import open_nifti, read_blocks
from brainspade_cli.nnunet.dataset import RawCase, RawHeader
from brainspade_cli.nnunet.distinct import blocks_of, distinct_values
from brainspade_cli.nnunet.planes import PNG, READ_ERRORS, open_picture

# Beyond this, SimpleITK takes an affine for sheared and refuses the file (measured with 2.5.7).
MAX_SHEAR = 1e-4
# Through-plane spacing, in multiples of the in-plane one, that nnU-Net's readers give to pictures and 2D NIfTIs.
PICTURE_SPACING = 999.0
# Modes of grey pictures; a palette ("P") has one band as well, but nnU-Net reads its colours.
_GREY = ("1", "L", "I", "I;16")
_BODY_AXES = {
    "R": "left-right",
    "L": "left-right",
    "A": "front-back",
    "P": "front-back",
    "S": "up-down",
    "I": "up-down",
}


@dataclass(frozen=True)
class CaseFacts:
    """What was found in a case.

    `shape`, `spacing` (mm) and `axes` (the body axes) run (z, y, x) as in nnU-Net. They are empty for a case that
    cannot be read; `axes` is empty for pictures too. `values`: the whole numbers in the label.
    """

    problems: tuple[str, ...]
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    axes: tuple[str, ...] = ()
    values: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Content:
    """What is kept of one file: its geometry in nnU-Net's order; `colours` is 3 or 4 in RGB pictures.

    Of an image, `flaw` says what is wrong with its values; of a label, `distinct` holds the different ones.
    """

    flaw: str
    distinct: NDArray[Any]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    axes: tuple[str, ...] = ()
    colours: int = 1


def inspect_case(case: RawCase, header: RawHeader) -> CaseFacts:
    """Read a case whose files are all there, and say what is wrong with it."""
    problems: list[str] = []
    reader = str(header.content.get("overwrite_image_reader_writer", ""))

    def read(path: Path, is_label: bool = False) -> _Content | None:
        try:
            return _read_picture(path, is_label) if header.file_ending == PNG else _read_volume(path, reader, is_label)
        except READ_ERRORS as error:
            problems.append(f"{path.name} cannot be read ({error}).")
            return None

    images = [content for content in map(read, case.images) if content]
    label = read(case.label, is_label=True)
    problems += _channel_problems(case, header, images)
    for path, image in zip(case.images, images, strict=False):
        problems += [f"{path.name} {image.flaw}"] if image.flaw else []
    for other in images[1:]:
        problems += _mismatches("its channels", images[0], other)
    if label:
        problems += _label_problems(label, header)
    if label and images:
        problems += _mismatches("image and label", images[0], label)
    values = _whole_numbers(label.distinct) if label else frozenset()
    if not images:
        return CaseFacts(tuple(problems), values=values)
    return CaseFacts(tuple(problems), images[0].shape, images[0].spacing, images[0].axes, values)


def _whole_numbers(found: NDArray[Any]) -> frozenset[int]:
    return frozenset(int(value) for value in found[np.isfinite(found)] if value % 1 == 0)


def _channel_problems(case: RawCase, header: RawHeader, images: list[_Content]) -> Iterator[str]:
    wanted = len(header.channel_names)
    if len(images) < len(case.images):
        return
    found = sum(image.colours for image in images)
    if found != wanted:
        yield f"has {found} channels where dataset.json names {wanted}."
    elif "dataset" not in header.content:
        for channel, path in enumerate(case.images):
            name = f"{case.name}_{channel:04d}{header.file_ending}"
            if path.name != name:
                yield f"{path.name} stands where {name} should."


def _survey(blocks: Iterable[NDArray[Any]], is_label: bool) -> tuple[str, NDArray[Any]]:
    """`flaw` and `distinct` of a file, of whose values no more than a block is held at a time."""
    if is_label:
        return "", distinct_values(blocks)
    lowest, highest, is_finite = [], [], True
    for block in blocks:
        is_finite = is_finite and bool(np.isfinite(block).all())
        lowest.append(block.min())
        highest.append(block.max())
    flaw = ""
    if not is_finite:
        flaw = "holds pixels that are not numbers (NaN or infinite)."
    elif min(lowest) == max(highest):
        flaw = "has the same value in every pixel."
    return flaw, np.empty(0)


def _label_problems(label: _Content, header: RawHeader) -> Iterator[str]:
    if label.colours > 1:
        yield "its label is a colour picture; it must be grey, with the labels' values as pixels."
        return
    unexpected = [value for value in label.distinct.tolist() if value not in header.values]
    if unexpected:
        listed = ", ".join(f"{value:g}" for value in unexpected[:5])
        yield f"its label holds {listed}, which dataset.json does not declare."


def _mismatches(what: str, first: _Content, other: _Content) -> Iterator[str]:
    if first.shape != other.shape:
        yield f"{what} differ in shape: {first.shape} and {other.shape} (z, y, x)."
    elif not np.allclose(other.spacing, first.spacing):
        yield f"{what} differ in spacing: {first.spacing} and {other.spacing} mm (z, y, x)."


def _read_picture(path: Path, is_label: bool) -> _Content:
    with open_picture(path) as picture:
        width, height = picture.size
        colours = 1 if picture.mode in _GREY else max(3, len(picture.getbands()))
        values = np.asarray(picture)
    if values.size == 0:
        raise ValueError("it is empty")
    flaw, distinct = _survey(blocks_of(values), is_label)
    return _Content(flaw, distinct, (1, height, width), (PICTURE_SPACING, 1.0, 1.0), colours=colours)


def _read_volume(path: Path, reader: str, is_label: bool) -> _Content:
    image = open_nifti(path)
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or (len(shape) == 2 and reader.startswith("Nibabel")):
        raise ValueError(f"it has {len(shape)} dimensions; each channel must be a file of three")
    if 0 in shape:
        raise ValueError("it is empty")
    if image.affine is None or not np.isfinite(image.affine).all():
        raise ValueError("its affine holds NaN or is infinite")
    _refuse_shear(image, reader)
    if image.get_data_dtype().fields:
        raise ValueError("it holds colours")
    if image.get_data_dtype().kind not in "buif":
        raise ValueError(f"it holds {image.get_data_dtype()} voxels")
    zooms = tuple(abs(float(zoom)) for zoom in image.header.get_zooms()[: len(shape)])
    if not np.isfinite(zooms).all() or 0 in zooms:
        raise ValueError(f"its spacing is {zooms}")
    flaw, distinct = _survey(read_blocks(image), is_label)
    axes = tuple(_BODY_AXES.get(code, "") for code in nib.aff2axcodes(image.affine))
    if len(shape) == 2:
        return _Content(flaw, distinct, (1, *shape[::-1]), (PICTURE_SPACING * max(zooms), *zooms[::-1]), axes[::-1])
    return _Content(flaw, distinct, shape[::-1], zooms[::-1], axes[::-1])


def _refuse_shear(image: Any, reader: str) -> None:
    """Raise ValueError where SimpleITK finds no orthonormal axes: a sheared sform, and no qform to fall back to."""
    if reader.startswith("Nibabel") or image.header["sform_code"] <= 0 or image.header["qform_code"] > 0:
        return
    axes = image.affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.all():
        raise ValueError("its affine is singular")
    axes = axes / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SHEAR:
        raise ValueError("its affine is sheared, which SimpleITK does not read; resample it, or set a qform")
