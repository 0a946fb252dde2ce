"""What `--style` may say, turned into a list of scans and banks with the channel of each."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainspade_cli.anatomy import MODALITIES
from brainspade_cli.errors import InputError
from brainspade_cli.reading import files_below, is_hidden
from brainspade_cli.styles.channels import (
    channel_named,
    channel_of_file,
    is_called_like_labels,
    is_nifti,
    words_without_channel,
)

_NAMED = re.compile(r"([A-Za-z][\w-]*)=(.+)", re.DOTALL)
_NEXT_NAMED = re.compile(r"[\s,]+(?=[A-Za-z][\w-]*=)")
LONGEST_SHOWN = 200
_SUBJECT = re.compile(r"(sub-[A-Za-z0-9]+)")
_SESSION = re.compile(r"(ses-[A-Za-z0-9]+)")


@dataclass(frozen=True)
class StyleArgument:
    """One style to load: a scan (`path`) or the weights' bank for `bank` (a modality).

    `subject`: scans of one subject in several channels share it, and are drawn together. `optional`: one of many in a
    folder or glob, so that the run may go on without it.
    """

    channel: str
    subject: str
    path: Path | None = None
    bank: str | None = None
    optional: bool = False


def parse_styles(values: Sequence[str]) -> tuple[StyleArgument, ...]:
    """Read `--style` values: NIfTI files, folders, globs, `t1=...` to name the channel, `@flair` for the weights' bank.

    Several values may stand in one string (`t1=a.nii.gz flair=b.nii.gz`). Channels come in the order of the values, and
    within a folder in the order of the modality table; the images of a pair are numbered in that order. Several scans
    of one channel are a pool to draw from. Raises InputError for what does not exist or has no channel, and for scans
    given twice.
    """
    styles: list[StyleArgument] = []
    for value in _split(values):
        named = None if os.path.exists(value) else _NAMED.fullmatch(value)
        channel = channel_named(named[1]) if named else None
        styles += _read_value(named[2] if named else value, channel)
    if not styles:
        raise InputError(
            "A style is needed: give --style a scan, such as --style flair.nii.gz, or a bank, such as @flair."
        )
    _refuse_doubles(styles)
    order = list(dict.fromkeys(style.channel for style in styles))
    return tuple(sorted(styles, key=lambda style: order.index(style.channel)))


def channels_of(styles: Iterable[StyleArgument]) -> tuple[str, ...]:
    """Channels in the order in which the styles name them."""
    return tuple(dict.fromkeys(style.channel for style in styles))


def _split(values: Sequence[str]) -> list[str]:
    parts: list[str] = []
    for value in (value.strip() for value in values):
        whole = os.path.exists(value) or not _NAMED.fullmatch(value)
        parts += [value] if whole else _NEXT_NAMED.split(value)
    return [part for part in parts if part]


def _read_value(value: str, channel: str | None) -> list[StyleArgument]:
    if value.startswith("@"):
        bank = channel_named(value[1:])
        return [StyleArgument(channel or bank, subject=value, bank=bank)]
    path = Path(value).expanduser()
    if os.path.isfile(path):
        found = channel or channel_of_file(path)
        if found is None and not is_nifti(path):
            raise InputError(f"{path} is no NIfTI file (.nii, .nii.gz) by its name; convert it, or give another.")
        if found is None and is_called_like_labels(path):
            raise InputError(
                f"{path} is called like a label map; give the scan whose contrast the images shall have,"
                f" or say what it is if it is one, as in --style flair={path}."
            )
        if found is None:
            raise InputError(f"The name of {path} does not tell its contrast; say it, as in --style flair={path}.")
        return [StyleArgument(found, _subject(path), path)]
    if os.path.isdir(path):
        return _read_many([file for file in files_below(path) if is_nifti(file) and file.is_file()], value, channel)
    if glob.has_magic(value):
        return _read_many([file for file in _matches(path) if file.is_file() and is_nifti(file)], value, channel)
    shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
    raise InputError(f"There is no style scan {shown}; give a NIfTI file, a folder, a glob, or a bank such as @flair.")


def _matches(pattern: Path) -> list[Path]:
    """The paths that a glob means, sorted; `**` enters no linked folder, as two that lead back would never end."""
    if "**" not in pattern.parts:
        return [Path(name) for name in sorted(glob.glob(str(pattern)))]
    parts = [part if part == "**" else re.sub(r"\*+", "*", part) for part in pattern.parts]
    first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root, wanted = Path(*parts[:first]), parts[first:] + (["*"] if parts[-1] == "**" else [])
    return sorted(path for path in root.glob("/".join(wanted)) if not is_hidden(path, root))


def _read_many(files: Sequence[Path], value: str, channel: str | None) -> list[StyleArgument]:
    """Pick the scans among `files`: those whose names tell the wanted channel, or any channel where none is given.

    Where a channel is given and no name tells any, all are taken for scans of it, but for what is called like labels.
    """
    scans = [file for file in files if not is_called_like_labels(file)]
    told = {file: channel_of_file(file) for file in files}
    if channel is None:
        chosen = {file: name for file, name in told.items() if name is not None}
    else:
        same = [file for file, name in told.items() if name == channel]
        chosen = dict.fromkeys(same if any(told.values()) else scans, channel)
    if not files and glob.has_magic(value):
        raise InputError(f"No NIfTI file (.nii, .nii.gz) is called {value}; check the folder and the pattern.")
    if not files:
        raise InputError(
            f"{value} holds no NIfTI file (.nii, .nii.gz); convert DICOM first, with dcm2niix for instance."
        )
    if not chosen:
        what = "a contrast" if channel is None else channel
        if not scans:
            raise InputError(f"All files in {value} are called like label maps; give scans, or name each that is one.")
        raise InputError(
            f"No file name in {value} tells {what}; name the files' contrast, as in --style flair={value}."
        )
    rank = {name: place for place, name in enumerate(MODALITIES)}
    ordered = sorted(chosen.items(), key=lambda item: (rank.get(item[1], len(rank)), item[1], str(item[0])))
    return [StyleArgument(name, _subject(file), file, optional=True) for file, name in ordered]


def _subject(path: Path) -> str:
    """Whose scan a file is: its BIDS subject and session, else its name less the contrast, in its folder.

    It is where the file is called by its name, not where a link leads, as to the store of a DataLad dataset.
    """
    full = Path(os.path.abspath(path))
    text = str(full)
    subjects = _SUBJECT.findall(text)
    if subjects:
        return "_".join([subjects[-1], *_SESSION.findall(text)[-1:]])
    return f"{full.parent}/{words_without_channel(full)}"


def _refuse_doubles(styles: Sequence[StyleArgument]) -> None:
    seen: dict[str, str] = {}
    for style in styles:
        key = f"@{style.bank}" if style.path is None else str(style.path.resolve())
        shown = key if style.path is None else str(style.path)
        if key in seen:
            how = "twice" if seen[key] == style.channel else f"as {seen[key]} and as {style.channel}"
            raise InputError(f"The style {shown} is given {how}; give it once.")
        seen[key] = style.channel
