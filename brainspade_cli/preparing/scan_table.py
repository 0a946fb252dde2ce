"""Which files belong to which scan: a BIDS-like folder or a TSV -> a list of scans to prepare."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from brainspade_cli.anatomy import MODALITIES
from brainspade_cli.errors import InputError
from brainspade_cli.reading import files_below, read_bytes, read_json
from brainspade_cli.slices import SPLITS, names_of_person, on_both_sides

# How BIDS calls the space of the scan itself.
OWN_SPACES = ("orig", "individual", "scanner", "t1w")
MAPS = ("tissues", "regions", "tumour", "pv")
MAX_TABLE_BYTES = 64 * 2**20
# File systems take 255 bytes.
MAX_NAME_BYTES = 200
# Where csv puts the cells of a row that has more than there are columns.
_BEYOND = "\0beyond"
# BIDS suffixes and the plain file names that mean the same.
IMAGE_NAMES = {"t1w": "t1", "t2w": "t2", "pdw": "pd", "t1gd": "t1ce"} | {name: name for name in MODALITIES}
MAP_NAMES = {"seg": "tumour", "tumor": "tumour", "aseg": "regions", "aparc+aseg": "regions", "synthseg": "regions"} | {
    name: name for name in MAPS
}


@dataclass(frozen=True)
class ScanFiles:
    """The files of one scan. `images` by modality; the maps are None where there is none. `split` as in SPLITS.

    `aside`: files of a folder in whose place another of the same kind is taken.
    """

    subject: str
    dataset: str
    person: str
    split: str
    images: dict[str, Path]
    tissues: Path | None = None
    regions: Path | None = None
    tumour: Path | None = None
    pv: Path | None = None
    aside: tuple[Path, ...] = ()

    @staticmethod
    def of(
        subject: str, dataset: str, person: str, split: str, files: Mapping[str, Path], aside: tuple[Path, ...] = ()
    ) -> ScanFiles:
        """A scan of `files` by role (a modality or one of `MAPS`)."""
        images = {role: path for role, path in files.items() if role in MODALITIES}
        tissues, regions, tumour, pv = map(files.get, MAPS)
        return ScanFiles(subject, dataset, person, split, images, tissues, regions, tumour, pv, aside)

    @property
    def name(self) -> str:
        """Name of the scan within a slice set: dataset and subject, in letters of any script, digits, dots, dashes."""
        return re.sub(r"[^\w.-]+", "-", f"{self.dataset}_{self.subject}".replace("_", "-"))

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """All files of the scan with their roles (a modality or one of `MAPS`), in a fixed order."""
        maps = zip(MAPS, (self.tissues, self.regions, self.tumour, self.pv), strict=True)
        return (*sorted(self.images.items()), *((role, path) for role, path in maps if path))

    @property
    def person_names(self) -> frozenset[str]:
        """The names that mean this person in any slice set or weights."""
        return names_of_person(self.person, self.dataset)


def find_scans(source: Path, held_out: Iterable[str] = ()) -> list[ScanFiles]:
    """Scans listed in a TSV, or found below a folder; `held_out` names people who go into no training.

    In a folder with several datasets, sub-01 of one is not sub-01 of another: people are named "dataset/subject"
    there, and by the plain subject where there is one dataset. `held_out` takes both; a plain name means everybody of
    that name. A table names people as it likes.
    Raises InputError for a missing source, a table that cannot be used or has somebody in training and held out, or a
    held-out person who is not in it.
    """
    if source.is_dir():
        scans = _from_folder(source)
    elif source.is_file():
        scans = _from_table(source)
    else:
        raise InputError(f"{source} does not exist; give a folder of scans or a TSV.")
    if not scans:
        raise InputError(
            f"{source} holds no scan that can be told by name; name files like t1.nii.gz or sub-01_T1w.nii.gz, or "
            "list them in a TSV (columns: subject, dataset, and a path per file)."
        )
    wanted = set(held_out)
    absent = wanted - {name for scan in scans for name in scan.person_names}
    if absent:
        raise InputError(f"{source} has no person named {', '.join(sorted(absent))}, who should be held out.")
    long = [scan for scan in scans if len(scan.name.encode()) > MAX_NAME_BYTES]
    if long:
        raise InputError(f"{source} has a scan called {long[0].name[:40]}..., too long to name a folder; shorten it.")
    names = [scan.name for scan in scans]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{source} lists {', '.join(repeated)} more than once; give each scan its own subject.")
    people = {scan.person for scan in scans if scan.person_names & wanted}
    scans = [replace(scan, split="held-out") if scan.person in people else scan for scan in scans]
    if both := on_both_sides((scan.split, scan.person, scan.dataset) for scan in scans):
        raise InputError(
            f"{source} has {_listed(both)} in training and held out; give all scans of a person one split, and"
            " different people different names (column `person`)."
        )
    return scans


def _suffix(path: Path) -> str:
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name.lower())
    description = re.search(r"desc-([a-z+]+)|label-([a-z+]+)", stem)
    suffix = stem.rsplit("_", 1)[-1]
    if suffix == "probseg":
        # A map of one class alone (label-CSF_probseg), as fMRIPrep writes them, is not the eight maps.
        return "pv" if "desc-" in stem and "label-" not in stem else ""
    if suffix in ("dseg", "mask") and description:
        return description[1] or description[2]
    return suffix


def _kind(path: Path) -> str | None:
    """The modality or map that a file's name tells; BIDS calls a T1 with a contrast agent T1w, and the agent before."""
    kind = IMAGE_NAMES.get(_suffix(path)) or MAP_NAMES.get(_suffix(path))
    return "t1ce" if kind == "t1" and re.search(r"(?:^|_)ce-", path.name.lower()) else kind


def _from_folder(source: Path) -> list[ScanFiles]:
    groups: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    # A scan before what was derived from it.
    for path in sorted(files_below(source), key=lambda path: "derivatives" in path.relative_to(source).parts):
        if not re.search(r"\.nii(\.gz)?$", path.name):
            continue
        kind = _kind(path)
        parts = (source.resolve().name, *path.relative_to(source).parts[:-1])
        subject = next((part for part in parts if part.startswith("sub-")), None) or _entity(path.name, "sub")
        if kind is None or subject is None:
            continue
        session = next((part for part in parts if part.startswith("ses-")), None) or _entity(path.name, "ses")
        dataset = _dataset_of(source, path, subject)
        scan = (dataset, f"{subject}-{session}" if session else subject)
        groups.setdefault(scan, []).append((kind, path))
    several = len({dataset for dataset, _ in groups}) > 1
    scans = []
    for (dataset, subject), found in sorted(groups.items()):
        files = _of_one_space(found)
        person = (f"{dataset}/" if several else "") + re.sub(r"-ses-.*$", "", subject)
        aside = tuple(path for _, path in found if path not in files.values())
        scans.append(ScanFiles.of(subject, dataset, person, "train", files, aside))
    return scans


def _of_one_space(found: list[tuple[str, Path]]) -> dict[str, Path]:
    """The first file of each kind that lies in one space: for an image does not fit a map in that of a template.

    The space is one that has images with maps, where there is one; then that of most kinds, then the scan's own.
    """
    kinds: dict[str, set[str]] = {}
    for kind, path in found:
        kinds.setdefault(_space(path), set()).add(kind)
    chosen = min(
        kinds, key=lambda name: (not (kinds[name] & {*MODALITIES} and kinds[name] & {*MAPS}), -len(kinds[name]), name)
    )
    files: dict[str, Path] = {}
    for kind, path in found:
        if _space(path) == chosen:
            files.setdefault(kind, path)
    return files


def _space(path: Path) -> str:
    """The space that a file's name tells, such as "mni152nlin6asym"; "" for the scan's own."""
    found = re.search(r"(?:^|_)space-([a-z0-9]+)", path.name.lower())
    return "" if found is None or found[1] in OWN_SPACES else found[1]


def _listed(names: list[str]) -> str:
    """Some names in words, as they can be printed."""
    return ", ".join(name[:40] for name in names[:8])


def _entity(name: str, key: str) -> str | None:
    found = re.match(rf"(?:.*_)?({key}-[A-Za-z0-9]+)(?:_|$)", name)
    return found[1] if found else None


def _dataset_of(source: Path, path: Path, subject: str) -> str:
    """The folder above the subject's (derivatives count to the dataset they belong to), or the BIDS dataset's name."""
    root = source.resolve()
    parents = list(path.relative_to(source).parts[:-1])
    above = parents[: parents.index(subject)] if subject in parents else []
    if "derivatives" in above:
        above = above[: above.index("derivatives")]
    root = root.parent if root.name == subject else root.joinpath(*above)
    description = root / "dataset_description.json"
    if description.is_file():
        try:
            name = read_json(description)["Name"]
        except (OSError, ValueError, LookupError, TypeError):
            return root.name
        return name if isinstance(name, str) and name.strip() else root.name
    return root.name


def _from_table(source: Path) -> list[ScanFiles]:
    try:
        # Spreadsheet programs put a byte-order mark before UTF-8.
        text = read_bytes(source, MAX_TABLE_BYTES).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", restkey=_BEYOND, strict=True)
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{source} cannot be read as a TSV in UTF-8 ({error}); save it as one.") from error
    header = list(reader.fieldnames or ())
    columns = set(header)
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated:
        raise InputError(f"{source} has more than one column {_listed(repeated)}; leave one of each.")
    known = {"subject", "dataset", "person", "split", *MODALITIES, *MAPS}
    if "subject" not in columns or not columns & {*MODALITIES, *MAPS}:
        raise InputError(
            f"{source} needs a column `subject` and at least one of {', '.join((*MODALITIES, *MAPS))}, separated by "
            "tabs."
        )
    unknown = sorted(columns - known)
    if unknown:
        raise InputError(f"{source} has columns that mean nothing here: {_listed(unknown)}; leave them out.")
    scans = []
    for number, row in enumerate(rows, start=2):
        if _BEYOND in row:
            raise InputError(f"{source}, line {number}: it has more cells than there are columns; check its tabs.")
        cells = {key: (value or "").strip() for key, value in row.items()}
        odd = [key for key, cell in cells.items() if {"Cc", "Cs"} & set(map(unicodedata.category, cell))]
        if odd:
            raise InputError(f"{source}, line {number}: `{odd[0]}` holds control characters; mend it.")
        if not cells["subject"]:
            raise InputError(f"{source}, line {number}: `subject` is empty; give every scan one.")
        split = cells.get("split") or "train"
        if split not in SPLITS:
            raise InputError(f"{source}, line {number}: split '{split[:40]}' is neither of {', '.join(SPLITS)}.")
        paths = {key: source.parent / cells[key] for key in (*MODALITIES, *MAPS) if cells.get(key)}
        subject = cells["subject"]
        dataset, person = cells.get("dataset") or source.stem, cells.get("person") or subject
        scans.append(ScanFiles.of(subject, dataset, person, split, paths))
    return scans
