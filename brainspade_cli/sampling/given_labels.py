"""Stage 1 left out: the user's own labels, from NIfTI label maps or PV maps, one axial slice after the other."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, CHANNELS, LABELS
from brainspade_cli.checked import table
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, ScanError
from brainspade_cli.files import sha256
from brainspade_cli.geometry import MIN_BRAIN_FRACTION, MIN_TUMOUR_PIXELS, SLICE_SHAPE
from brainspade_cli.nifti import NiftiError, open_nifti
from brainspade_cli.preparing.partial_volumes import quantise
from brainspade_cli.preparing.volumes import MAX_SIDE, centre_of, read_maps, read_volume
from brainspade_cli.reading import files_below, npy_header, read_json, require_plain
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.sampling.label_checks import lesion_pixels
from brainspade_cli.styles.channels import is_nifti

SUM_TOLERANCE = 0.02
_FRAME = SLICE_SHAPE[0] * SLICE_SHAPE[1]


@dataclass(frozen=True)
class LabelFile:
    """One file of labels. `data`: uint8 labels (X, Y, Z), or float32 PV maps (X, Y, Z, 8).

    `spacing`: in-plane, mm; `heights`: of each slice, mm, None where the file has none (.npz); `slices`: those with
    enough brain to count.
    """

    path: Path
    data: NDArray[np.uint8] | NDArray[np.float32]
    spacing: tuple[float, float]
    heights: tuple[float | None, ...]
    slices: tuple[int, ...] = ()

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """Of the brain in the plane, in millimetres, (2,)."""
        return np.asarray(centre_of(self.brain())[:2] * np.array(self.spacing))

    def brain(self) -> NDArray[np.bool_]:
        """Where the brain is, (X, Y, Z)."""
        return self.data != BACKGROUND if self.data.ndim == 3 else self.data[..., BACKGROUND] < 0.5

    def plane(self, k: int) -> NDArray[np.float32]:
        """PV maps (8, X, Y) of slice k."""
        if self.data.ndim == 4:
            return np.moveaxis(self.data[:, :, k], -1, 0).astype(np.float32)
        return (self.data[None, :, :, k] == np.arange(CHANNELS)[:, None, None]).astype(np.float32)


class GivenLabels:
    """Labels of a folder in the order of their files' names and of their slices; pair i takes number i modulo `count`.

    Every file is read once to count its slices, and again when its turn comes, so that memory does not grow with them.
    Raises InputError for a folder without labels, and for label values or PV maps that are not this project's.
    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        if not folder.is_dir():
            raise InputError(f"There is no folder of labels {folder}; give the folder that holds the label maps.")
        _refuse_datasets(folder)
        files = [file for file in files_below(folder) if is_nifti(file) or file.suffix == ".npz"]
        if not files:
            raise InputError(
                f"{folder} holds no label maps; give NIfTI files with the values 0 to {CHANNELS - 1}, or PV maps."
            )
        self._hashes: dict[Path, str] = {}
        self._places: list[tuple[Path, int]] = []
        with reporter.progress("labels", len(files)) as advance:
            for file in files:
                self._places += [(file, k) for k in read_labels(file).slices]
                self._hashes[file] = sha256(file)
                advance()
        if not self._places:
            raise InputError(f"No slice in {folder} has {MIN_BRAIN_FRACTION:.0%} brain in a 192 x 256 mm frame.")
        self.digest = hashlib.sha256("".join(self._hashes.values()).encode()).hexdigest()
        self._lock = threading.Lock()
        self._open: LabelFile | None = None

    @property
    def count(self) -> int:
        """Number of label slices."""
        return len(self._places)

    def draw(self, members: range) -> list[LabelDraw]:
        """The labels of these pairs."""
        places = [self._places[index % self.count] for index in members]
        # One thread at a time: they ask for blocks nearly in order, so that a file is read about once and no more than
        # one is in memory, which may be a GiB of PV maps.
        with self._lock:
            slices = [self._slice(path, k) for path, k in places]
        return [_label(one) for one in slices]

    def _slice(self, path: Path, k: int) -> _Slice:
        if self._open is None or self._open.path != path:
            self._open = None  # before the next one takes its room
            self._open = read_labels(path)
        file = self._open
        origin = f"{path.name} slice {k}"
        return _Slice(file.plane(k), file.spacing, file.centre, file.heights[k], origin, self._hashes[path])


@dataclass(frozen=True)
class _Slice:
    """PV maps (8, X, Y) of one slice as its file has them, and what the file says of it."""

    plane: NDArray[np.float32]
    spacing: tuple[float, float]
    centre: NDArray[np.float64]
    height: float | None
    origin: str
    sha256: str


def _label(one: _Slice) -> LabelDraw:
    maps = quantise(frame(one.plane, one.spacing, one.centre))
    label = maps.argmax(axis=0).astype(np.uint8)
    lesion = lesion_pixels(label) >= MIN_TUMOUR_PIXELS
    return LabelDraw(maps, label, one.height, lesion, origin=one.origin, origin_sha256=one.sha256)


def read_labels(path: Path) -> LabelFile:
    """Read a file of labels and choose its slices; raises InputError (or ScanError) saying what does not fit."""
    file = _read_npz(path) if path.suffix == ".npz" else _read_nifti(path)
    area = file.brain().sum(axis=(0, 1)) * file.spacing[0] * file.spacing[1]
    return replace(file, slices=tuple(int(k) for k in np.flatnonzero(area >= MIN_BRAIN_FRACTION * _FRAME)))


def frame(plane: NDArray[np.float32], pixel: tuple[float, float], centre: NDArray[np.float64]) -> NDArray[np.float32]:
    """PV maps (8, 192, 256) at 1 mm of a slice (8, X, Y) whose pixels have so many mm.

    The brain's `centre`, in mm from the first pixel, (2,), comes to the middle, unless the slice fits as it is.
    """
    if plane.shape[1:] == SLICE_SHAPE and np.allclose(pixel, 1.0, atol=0.01):
        return plane
    spacing = np.array(pixel)
    # Whole millimetres, so that a map that is at 1 mm already is moved and not smoothed.
    corner = np.round(centre - (np.array(SLICE_SHAPE) - 1) / 2)
    moved = np.stack(
        [
            ndimage.affine_transform(
                channel, np.diag(1 / spacing), corner / spacing, output_shape=SLICE_SHAPE, order=1, cval=outside
            )
            for channel, outside in zip(plane, np.eye(CHANNELS)[BACKGROUND], strict=True)
        ]
    )
    framed: NDArray[np.float32] = moved / moved.sum(axis=0)
    return framed


def _read_nifti(path: Path) -> LabelFile:
    try:
        shape = open_nifti(path).shape
    except NiftiError as error:
        raise ScanError(f"{path} {error}.") from error
    if len(shape) == 4 and shape[3] > 1:
        maps, affine = read_maps(path)
        data: NDArray[np.uint8] | NDArray[np.float32] = _checked_maps(path, maps)
    else:
        # A slice above the head, as sets of slices have them, is as empty as one of a volume.
        volume = read_volume(path, allow_empty=True)
        data, affine = _checked_labels(path, volume.data), volume.affine
    x, y, _ = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    heights = tuple(float(affine[2, 3] + affine[2, 2] * k) for k in range(data.shape[2]))
    return LabelFile(path, data, (x, y), heights)


def _read_npz(path: Path) -> LabelFile:
    try:
        require_plain(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            shape, dtype = _claims(archive, members[0]) if len(members) == 1 else ((), np.dtype("V"))
            if len(shape) != 3 or shape[0] != CHANNELS or not 1 <= min(shape) <= max(shape) <= MAX_SIDE:
                members = []
            if not members or dtype.kind not in "uif":
                raise InputError(f"{path} must hold one array of PV maps, ({CHANNELS}, X, Y), channels first.")
            with archive.open(members[0]) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile, its four decompressors and NumPy's parser have no common family
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as a plain .npz file ({reason}); make it anew.") from error
    return LabelFile(path, _checked_maps(path, np.moveaxis(array, 0, -1)[:, :, None]), (1.0, 1.0), (None,))


def _refuse_datasets(folder: Path) -> None:
    """Raise InputError for a dataset as a whole, and for the labels of an export that numbers them in its own way."""
    places = [place for place in (folder / "labelsTr", folder / "brainspade" / "pv") if place.is_dir()]
    if places:
        usable = next((place for place in places if any(map(is_nifti, place.iterdir()))), None)
        if usable is None:
            raise InputError(f"{folder} is a dataset whose labels are no NIfTI files, which --labels takes.")
        raise InputError(f"{folder} is a dataset, images and all; give its labels: --labels {usable}.")
    header = folder.parent / "dataset.json"
    if folder.name == "labelsTr" and header.is_file():
        try:
            known = table(read_json(header))
        except (OSError, ValueError):
            return
        labels = known.get("labels")
        if "brainspade" in known and labels != {label.name: label.channel for label in LABELS}:
            raise InputError(
                f"{folder} numbers labels in its own way, as {header} says; give those of the dataset that it was"
                f" exported from, or use {_table()}."
            )


def _claims(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(name) as member:
        return npy_header(member)


def _checked_maps(path: Path, maps: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
    """PV maps (X, Y, Z, 8) as float32 that sum to 1; raises InputError.

    Maps that are float32 already are changed in place: they may take a GiB.
    """
    if maps.shape[-1] != CHANNELS:
        raise InputError(f"{path} has {maps.shape[-1]} PV maps; there must be {CHANNELS}: {_table()}.")
    values = maps.astype(np.float32, copy=False)
    if not np.isfinite(values).all() or max(-values.min(), values.max()) > 256:
        raise InputError(f"{path} holds PV maps with values that are no shares; they run from 0 to 1, or to 255.")
    total = values.sum(axis=-1)
    # Integers out of 255, as this project and others store PV maps.
    if total.min() > 1 + SUM_TOLERANCE and np.allclose(total, 255, atol=255 * SUM_TOLERANCE):
        values /= np.float32(255)
        total /= 255
    if values.min() < -1e-3 or not np.allclose(total, 1, atol=SUM_TOLERANCE):
        raise InputError(
            f"{path} holds PV maps that do not sum to 1 ({total.min():.3g} to {total.max():.3g}); "
            "background must be a map of its own."
        )
    np.clip(values, 0, None, out=values)
    values /= values.sum(axis=-1, keepdims=True)
    return values


def _checked_labels(path: Path, data: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A label map (X, Y, Z) as uint8 channel numbers; raises InputError for other values."""
    values = np.unique(data)
    if not np.isin(values, np.arange(CHANNELS)).all():
        odd = [f"{value:g}" for value in values[~np.isin(values, np.arange(CHANNELS))][:8]]
        raise InputError(f"{path} holds the values {', '.join(odd)}, which are no labels here; use {_table()}.")
    return data.astype(np.uint8)


def _table() -> str:
    return ", ".join(f"{label.channel} {label.name}" for label in LABELS)
