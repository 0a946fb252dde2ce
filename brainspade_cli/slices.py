"""The slice set: what `prepare` writes and the trainers read.

    SET/slice-set.json                 format, label names, grid
    SET/scans/<name>/scan.json         one record a scan, written last: a scan without it does not exist
    SET/scans/<name>/labels.npy        uint8 (slices, channels, 192, 256), channels sum to 255; absent without labels
    SET/scans/<name>/<modality>.npy    float16 (slices, 192, 256), z-scored over the brain, `BACKGROUND_VALUE` outside

The arrays are opened as memory maps, so that a set of any size costs no memory until a slice is read.
"""

from __future__ import annotations

import errno
import io
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import CHANNELS, MODALITIES, NAMES
from brainspade_cli.errors import SliceSetError, some_of
from brainspade_cli.files import replacing, write_json
from brainspade_cli.geometry import GRID_ORIGIN, GRID_SHAPE, SLICE_SHAPE
from brainspade_cli.reading import npy_header, read_json, require_plain

FORMAT = 1
# Below every z-score that a brain reaches, so that "outside" stays apart from dark tissue.
BACKGROUND_VALUE = -4.0
SPLITS = ("train", "held-out")
POPULATIONS = ("healthy", "tumour")


def names_of_person(person: str, dataset: str) -> frozenset[str]:
    """The names that mean a person in slice sets and weights: as it is, without the dataset before it, and with it."""
    full = _full_name(person, dataset)
    return frozenset({person, full.removeprefix(f"{dataset}/"), full})


def _full_name(person: str, dataset: str) -> str:
    return f"{dataset}/{person.removeprefix(f'{dataset}/')}"


def on_both_sides(people: Iterable[tuple[str, str, str]]) -> list[str]:
    """Names of those who are in training and held out, sorted, of people given as (split, person, dataset)."""
    sides: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split, person, dataset in people:
        # Not the name without the dataset, which may mean somebody else in another one.
        sides[split] |= {person, _full_name(person, dataset)}
    both = sides["train"] & sides["held-out"]
    return sorted(name for name in both if name.partition("/")[2] not in both)


@dataclass(frozen=True)
class ScanRecord:
    """One prepared scan. The per-slice tuples run from the lowest kept slice to the highest.

    `positions`: height in mm. `brain_pixels`, `tumour_pixels`: counts at PV >= 0.5 (tumour and oedema together).
    `lesion_load`: tumour and oedema area as a fraction of the brain's area in that slice, 0..1.
    `population`: "tumour" where the person has one, else "healthy". `split`: "train" or "held-out", by person.
    """

    name: str
    subject: str
    person: str
    dataset: str
    split: str
    population: str
    modalities: tuple[str, ...]
    has_labels: bool
    positions: tuple[float, ...]
    brain_pixels: tuple[int, ...]
    tumour_pixels: tuple[int, ...]
    lesion_load: tuple[float, ...]
    fingerprint: str = ""

    @property
    def slices(self) -> int:
        """Number of slices kept."""
        return len(self.positions)

    @property
    def person_names(self) -> frozenset[str]:
        """The names that mean this person in any slice set or weights."""
        return names_of_person(self.person, self.dataset)


@dataclass(frozen=True)
class SliceSet:
    """A slice set on disk; `open_slice_set` makes one."""

    folder: Path
    scans: tuple[ScanRecord, ...]

    def select(self, *, split: str = "train", population: str | None = None) -> tuple[ScanRecord, ...]:
        """Scans of one split, optionally of one population."""
        return tuple(
            scan for scan in self.scans if scan.split == split and (population is None or scan.population == population)
        )

    def labelled(self, population: str) -> tuple[ScanRecord, ...]:
        """Scans of one population that a label training learns from."""
        return tuple(scan for scan in self.select(population=population) if scan.has_labels and scan.slices)

    def people(self, split: str) -> tuple[str, ...]:
        """Sorted names of the people in a split."""
        return tuple(sorted({scan.person for scan in self.scans if scan.split == split}))

    def person_names(self, split: str) -> frozenset[str]:
        """All names that mean people of a split."""
        return frozenset(name for scan in self.scans if scan.split == split for name in scan.person_names)

    def require_split(self) -> None:
        """Raise SliceSetError where somebody is in training and held out."""
        if both := on_both_sides((scan.split, scan.person, scan.dataset) for scan in self.scans):
            raise SliceSetError(
                f"{self.folder} has {some_of(both)} in training and held out; prepare all of these with one split, or"
                " from one folder if these are different people."
            )

    def labels(self, scan: ScanRecord) -> NDArray[np.uint8]:
        """PV maps of a scan, memory-mapped: uint8 (slices, channels, 192, 256), channels sum to 255."""
        return self._array(scan, "labels", (scan.slices, CHANNELS, *SLICE_SHAPE), np.dtype(np.uint8))

    def images(self, scan: ScanRecord, modality: str) -> NDArray[np.float16]:
        """Images of a scan, memory-mapped: float16 (slices, 192, 256), z-scored over the brain."""
        return self._array(scan, modality, (scan.slices, *SLICE_SHAPE), np.dtype(np.float16))

    def _array(self, scan: ScanRecord, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        path = self.folder / "scans" / scan.name / f"{name}.npy"
        try:
            require_plain(path)
            with open(path, "rb") as file:
                held = npy_header(file)
            array = np.lib.format.open_memmap(path, mode="r") if held == (shape, dtype) else None
        except (OSError, ValueError) as error:
            # A map that finds no room is not the file's fault.
            if isinstance(error, OSError) and error.errno == errno.ENOMEM:
                raise
            reason = " ".join(str(error).split())[:200]
            raise SliceSetError(f"{path} cannot be read ({reason}); run `brainspade prepare` again.") from error
        if array is None:
            raise SliceSetError(f"{path} holds {held[1]} {held[0]}, not {dtype} {shape}; prepare it again.")
        return array


def create_slice_set(folder: Path) -> None:
    """Make an empty slice set, or leave the one that is there; raises SliceSetError where there is something else."""
    header = folder / "slice-set.json"
    if header.exists():
        _check_header(folder)
        return
    # Hidden files may be our own, of a process killed before it had written the header.
    if folder.exists() and (not folder.is_dir() or any(path.name[0] != "." for path in folder.iterdir())):
        raise SliceSetError(f"{folder} already holds something that is not a slice set; choose an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(header, {"format": FORMAT, "labels": list(NAMES), "shape": list(SLICE_SHAPE)})


def write_record(folder: Path, record: ScanRecord) -> None:
    """Write a scan's record, which makes the scan part of the set. Its arrays must be on disk by then."""
    write_json(folder / "scans" / record.name / "scan.json", asdict(record))


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array to a .npy file in one step."""
    # By way of memory, because numpy does not say what was wrong when the disk takes a part only.
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def remove_scan(folder: Path) -> None:
    """Delete a scan's folder, its record first: a process killed half-way leaves no record without its arrays."""
    (folder / "scan.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def open_slice_set(folder: Path) -> SliceSet:
    """Open a slice set; raises SliceSetError where there is none, or one of another format or label table."""
    _check_header(folder)
    return SliceSet(folder, tuple(map(_record, _record_paths(folder))))


def forget_damaged(folder: Path) -> dict[str, str]:
    """Take scans whose record or arrays are cut, changed or gone out of a set; returns their names with the reason.

    Their records go, without which a scan does not exist, and arrays stay. So does what cannot be read for another
    reason: on a share that is down it may be whole.
    """
    damaged: dict[str, str] = {}
    for path in _record_paths(folder):
        try:
            record = _record(path)
            scan = SliceSet(folder, (record,))
            if record.has_labels:
                scan.labels(record)
            for modality in record.modalities:
                scan.images(record, modality)
        except SliceSetError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
                continue
            path.unlink()
            damaged[path.parent.name] = str(cause or error)
    return damaged


def _record_paths(folder: Path) -> list[Path]:
    return sorted((folder / "scans").glob("*/scan.json"))


def _check_header(folder: Path) -> None:
    header = folder / "slice-set.json"
    try:
        head = read_json(header)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SliceSetError(f"{folder} is not a slice set; make one with `brainspade prepare`.") from error
    except (OSError, ValueError) as error:
        raise SliceSetError(f"{header} cannot be read ({error}); prepare the scans into another folder.") from error
    wanted = {"format": FORMAT, "labels": list(NAMES), "shape": list(SLICE_SHAPE)}
    if not isinstance(head, dict) or {key: head.get(key) for key in wanted} != wanted:
        raise SliceSetError(f"{header} is of another format or label table; prepare the scans into another folder.")


def _record(path: Path) -> ScanRecord:
    """Read a scan's record strictly; raises SliceSetError, naming the file and what is wrong with it."""
    try:
        data = read_json(path)
        if not isinstance(data, dict):
            raise ValueError("it holds no table")
        values = {entry.name: _entry(entry.name, str(entry.type), data) for entry in fields(ScanRecord)}
        record = ScanRecord(**values)
        _check(record, path.parent.name)
    except (OSError, ValueError) as error:
        raise SliceSetError(f"{path} is damaged ({error}); delete it and run `brainspade prepare` again.") from error
    return record


def _entry(name: str, kind: str, data: dict[str, Any]) -> Any:
    """One entry of a record as the type that its field is annotated with; raises ValueError."""
    if name not in data:
        raise ValueError(f"{name} is missing")
    value = data[name]
    inner = _MEMBERS[kind.removeprefix("tuple[").removesuffix(", ...]")]
    members = value if kind.startswith("tuple") else [value]
    if not isinstance(members, list) or not all(type(member) in inner for member in members):
        raise ValueError(f"{name} is not what it should be")
    if float in inner and not all(math.isfinite(member) for member in members):
        raise ValueError(f"{name} holds what is no number")
    return tuple(value) if kind.startswith("tuple") else value


# type(), because True is an int to isinstance.
_MEMBERS: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (float, int)}


def _check(record: ScanRecord, folder: str) -> None:
    """Raise ValueError where a record contradicts its place or itself."""
    if record.name != folder:
        raise ValueError(f"it calls itself another name than its folder, {folder}")
    if record.split not in SPLITS or record.population not in POPULATIONS:
        raise ValueError("its split or population is none that there is")
    if not set(record.modalities) <= set(MODALITIES) or len(set(record.modalities)) < len(record.modalities):
        raise ValueError("its modalities are none that there are")
    rows = (record.positions, record.brain_pixels, record.tumour_pixels, record.lesion_load)
    if {len(row) for row in rows} != {record.slices} or not record.slices:
        raise ValueError("its slices are not counted alike")
    lowest, highest = GRID_ORIGIN[2], GRID_ORIGIN[2] + GRID_SHAPE[2]
    if min(record.positions) < lowest or max(record.positions) >= highest:
        raise ValueError("its slices lie outside the grid")
    if min(record.brain_pixels) < 0 or min(record.tumour_pixels) < 0:
        raise ValueError("its pixels are fewer than none")
    if min(record.lesion_load) < 0 or max(record.lesion_load) > 1:
        raise ValueError("its lesion load is no share")
