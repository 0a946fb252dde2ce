"""The slice set: what `prepare` writes and the trainers read.

    SET/slice-set.json                 format, label names, grid
    SET/scans/<name>/scan.json         one record a scan, written last: a scan without it does not exist
    SET/scans/<name>/labels.npy        uint8 (slices, channels, 192, 256), channels sum to 255; absent without labels
    SET/scans/<name>/<modality>.npy    float16 (slices, 192, 256), z-scored over the brain, `BACKGROUND_VALUE` outside

The arrays are opened as memory maps, so that a set of any size costs no memory until a slice is read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import CHANNELS, NAMES
from brainspade_cli.errors import SliceSetError
from brainspade_cli.files import write_json
from brainspade_cli.geometry import SLICE_SHAPE

FORMAT = 1
# Below every z-score that a brain reaches, so that "outside" stays apart from dark tissue.
BACKGROUND_VALUE = -4.0


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

    def people(self, split: str) -> tuple[str, ...]:
        """Sorted names of the people in a split."""
        return tuple(sorted({scan.person for scan in self.scans if scan.split == split}))

    def labels(self, scan: ScanRecord) -> NDArray[np.uint8]:
        """PV maps of a scan, memory-mapped: uint8 (slices, channels, 192, 256), channels sum to 255."""
        return self._array(scan, "labels", (scan.slices, CHANNELS, *SLICE_SHAPE), np.dtype(np.uint8))

    def images(self, scan: ScanRecord, modality: str) -> NDArray[np.float16]:
        """Images of a scan, memory-mapped: float16 (slices, 192, 256), z-scored over the brain."""
        return self._array(scan, modality, (scan.slices, *SLICE_SHAPE), np.dtype(np.float16))

    def _array(self, scan: ScanRecord, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        path = self.folder / "scans" / scan.name / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SliceSetError(f"{path} cannot be read ({error}); run `brainspade prepare` again.") from error
        if array.shape != shape or array.dtype != dtype:
            raise SliceSetError(f"{path} holds {array.dtype} {array.shape}, not {dtype} {shape}; prepare it again.")
        return array


def create_slice_set(folder: Path) -> None:
    """Make an empty slice set, or leave the one that is there; raises SliceSetError where there is something else."""
    header = folder / "slice-set.json"
    if header.exists():
        open_slice_set(folder)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SliceSetError(f"{folder} already holds something that is not a slice set; choose an empty folder.")
    (folder / "scans").mkdir(parents=True, exist_ok=True)
    write_json(header, {"format": FORMAT, "labels": list(NAMES), "shape": list(SLICE_SHAPE)})


def write_record(folder: Path, record: ScanRecord) -> None:
    """Write a scan's record, which makes the scan part of the set. Its arrays must be on disk by then."""
    write_json(folder / "scans" / record.name / "scan.json", asdict(record))


def open_slice_set(folder: Path) -> SliceSet:
    """Open a slice set; raises SliceSetError where there is none, or one of another format or label table."""
    header = folder / "slice-set.json"
    try:
        head = json.loads(header.read_text())
        if head["format"] != FORMAT or head["labels"] != list(NAMES) or head["shape"] != list(SLICE_SHAPE):
            raise SliceSetError(f"{header} is of another format or label table; prepare the scans again.")
        records = [_record(json.loads(path.read_text())) for path in sorted((folder / "scans").glob("*/scan.json"))]
    except FileNotFoundError as error:
        raise SliceSetError(f"{folder} is not a slice set; make one with `brainspade prepare`.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SliceSetError(f"{folder} has a damaged record ({error}); prepare the scans again.") from error
    return SliceSet(folder, tuple(records))


def _record(data: dict[str, Any]) -> ScanRecord:
    values: dict[str, Any] = {}
    for field in fields(ScanRecord):
        value = data[field.name]
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return ScanRecord(**values)
