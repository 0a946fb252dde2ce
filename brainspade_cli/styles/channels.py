"""Which MR contrast a file shows, judged by its name: the vocabulary, BIDS suffixes and what people write instead."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from brainspade_cli.anatomy import MODALITIES
from brainspade_cli.errors import InputError

# Contrasts that no weights here have been trained on; the style code of a scan may serve all the same.
_OTHERS = ("t2star", "swi", "dwi", "adc", "dir", "psir")
_ALIASES = {
    "t1": ("t1", "t1w", "t1n", "mprage", "mp2rage", "spgr", "unit1"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1km", "t1post", "t1wce", "t1cew"),
    "t2": ("t2", "t2w", "t2tse"),
    "flair": ("flair", "t2flair", "t2f"),
    "pd": ("pd", "pdw"),
    "t2star": ("t2star", "t2starw", "t2s"),
}
_BY_ALIAS = {alias: name for name, aliases in _ALIASES.items() for alias in aliases} | {name: name for name in _OTHERS}
_CONTRAST_AGENT = frozenset({"ce", "gd", "post", "gadolinium", "contrast", "postcontrast"})
# BIDS entities, whose values say nothing of the contrast: space-T1w means "aligned to the T1w".
_ENTITY = re.compile(
    r"(sub|ses|sample|task|tracksys|acq|dir|run|mod|echo|flip|inv|part|recording|rec|space|res|den)-.*"
)
# Last words of files that lie beside scans and are none.
_NO_SCANS = frozenset(
    {"mask", "brainmask", "dseg", "seg", "segmentation", "probseg", "label", "labels", "pv", "regions", "tissues"}
    | {"tumour", "tumor", "lesion", "roi"}
)
_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def is_nifti(path: Path) -> bool:
    """Whether a file's name ends in .nii or .nii.gz."""
    return _NIFTI.search(path.name) is not None


def stem(path: Path) -> str:
    """A file's name without .nii, .nii.gz or its one other suffix."""
    return _NIFTI.sub("", path.name) if is_nifti(path) else path.stem


def channel_named(name: str) -> str:
    """The channel that a user's name means ("T1w" is t1); raises InputError with the nearest that there are."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    if key in _BY_ALIAS:
        return _BY_ALIAS[key]
    near = difflib.get_close_matches(key, sorted(_BY_ALIAS), n=1)
    hint = f"; did you mean {_BY_ALIAS[near[0]]}?" if near else "."
    raise InputError(f"'{name}' is not a channel; there are {', '.join((*MODALITIES, *_OTHERS))}{hint}")


def channel_of_file(path: Path) -> str | None:
    """The channel that a file's name tells, or None: for `sub-01_FLAIR.nii.gz`, `flair.nii.gz`, `BraTS-001-t2f.nii.gz`.

    Names of masks and label maps tell none, whatever else they say.
    """
    if is_called_like_labels(path):
        return None
    words = _words(path)
    found = [_BY_ALIAS[word] for word in words if word in _BY_ALIAS]
    if "flair" in found:
        return "flair"
    if not found:
        return None
    # The last word is the BIDS suffix; where it is no contrast, one contrast named anywhere will do.
    channel = found[-1]
    if words[-1] not in _BY_ALIAS and len(set(found)) > 1:
        return None
    agent = any(part.startswith("ce-") for part in _parts(path)) or any(word in _CONTRAST_AGENT for word in words)
    return "t1ce" if channel == "t1" and agent else channel


def is_called_like_labels(path: Path) -> bool:
    """Whether a file's name ends as those of masks and label maps do: `sub-01_dseg.nii.gz`, `tumour.nii.gz`."""
    words = _words(path)
    return bool(words) and words[-1] in _NO_SCANS


def _parts(path: Path) -> list[str]:
    return stem(path).lower().split("_")


def _words(path: Path) -> list[str]:
    """The words of a file's name in lower case, without BIDS entities."""
    parts = [part for part in _parts(path) if not _ENTITY.fullmatch(part) and not part.startswith("ce-")]
    return [word for part in parts for word in re.split(r"[-.\s+]", part) if word]


def words_without_channel(path: Path) -> str:
    """A file's name less what tells its channel: equal for the T1 and the FLAIR of one subject in a flat folder."""
    words = re.split(r"[-_.\s+]", stem(path).lower())
    return "_".join(word for word in words if word and word not in _BY_ALIAS and word not in _CONTRAST_AGENT)
