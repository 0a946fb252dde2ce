"""Which pairs a dataset holds, and how each was made: one JSON line a pair, written after the pair's files.

    brainspade/manifest.jsonl             of a run in one piece
    brainspade/manifest-0-of-8.jsonl      of one of several shards, each with a file of its own, so that none waits

A pair counts as made when it has a line and all its files exist. A process killed while it wrote leaves a torn last
line, which counts for nothing and is cut off when the file is next written to. Once all pairs are there, `tidy` leaves
one line a pair, for others read these files too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import DatasetError
from brainspade_cli.files import json_text, replacing
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import json_lines, json_tables
from brainspade_cli.sampling.shards import Shard

_CASE = re.compile(r"brainspade_(\d{7,})(?:_(\d{4}))?")


def case_name(index: int) -> str:
    """Name of pair `index` in the dataset."""
    return f"brainspade_{index:07d}"


def manifest_path(layout: RawLayout, shard: Shard) -> Path:
    """Where a shard keeps its lines."""
    name = "manifest.jsonl" if shard.count == 1 else f"manifest-{shard.number}-of-{shard.count}.jsonl"
    return layout.provenance / name


def pv_path(layout: RawLayout, index: int) -> Path:
    """Where the PV maps of a pair lie when they are kept."""
    return layout.provenance / "pv" / f"{case_name(index)}.nii.gz"


class Manifest:
    """A manifest open for writing; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by __exit__
        self._cut_torn_line()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def append(self, row: dict[str, Any]) -> None:
        """Add a pair's line in one write. The pair's files must be on disk by then."""
        self._file.write(_line(row))
        self._file.flush()

    def _cut_torn_line(self) -> None:
        end = size = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            self._file.seek(start)
            line_end = self._file.read(end - start).rfind(b"\n")
            if line_end >= 0:
                end = start + line_end + 1
                break
            end = start
        if end < size:
            self._file.truncate(end)


def rows(layout: RawLayout) -> Iterator[dict[str, Any]]:
    """Every whole line of every manifest of a dataset, one after the other; what was edited counts for nothing.

    Raises DatasetError where a manifest cannot be read.
    """
    for path in _paths(layout):
        yield from _rows_of(path)


def tidy(layout: RawLayout, pairs: int) -> None:
    """Leave the last row of each of the first `pairs` pairs and nothing else, where there is anything else.

    Rows stay in their files, and a file without any goes. Several processes may do so at once: they keep the same rows.
    Raises DatasetError where a manifest cannot be read, OSError where it cannot be written.
    """
    paths = _paths(layout)
    home = np.full(pairs, -1, np.int32)
    for number, path in enumerate(paths):
        for row in _rows_of(path):
            if row["index"] < pairs:
                home[row["index"]] = number
    for number, path in enumerate(paths):
        with suppress(FileNotFoundError):
            _tidy_file(path, home == number)


def _tidy_file(path: Path, at_home: NDArray[np.bool_]) -> None:
    """Leave the last row in a manifest of each pair whose place is there, (pairs,)."""
    # One handle, for another process may put a tidy file in this one's place between two looks.
    with open(path, "rb") as file:
        last = np.full(len(at_home), -1, np.int64)
        for place, row in enumerate(filter(_is_row, json_tables(file))):
            if row["index"] < len(last) and at_home[row["index"]]:
                last[row["index"]] = place
        kept = int((last >= 0).sum())
        # Windows deletes and replaces no open file.
        if kept == 0:
            file.close()
            path.unlink(missing_ok=True)
        elif kept < _count_lines(file):
            file.seek(0)
            with replacing(path) as temporary, open(temporary, "wb") as tidied:
                for place, row in enumerate(filter(_is_row, json_tables(file))):
                    if row["index"] < len(last) and last[row["index"]] == place:
                        tidied.write(_line(row))
                file.close()


def _paths(layout: RawLayout) -> list[Path]:
    return sorted(layout.provenance.glob("manifest*.jsonl"))


def _rows_of(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from filter(_is_row, json_lines(path))
    except FileNotFoundError:
        # Another process has tidied up since the folder was listed.
        return
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); mend this and run again.") from error


def _count_lines(file: BinaryIO) -> int:
    """Lines of an open file, a last one that does not end among them."""
    file.seek(0)
    lines, end = 0, b"\n"
    while block := file.read(1 << 20):
        lines += block.count(b"\n")
        end = block[-1:]
    return lines + (end != b"\n")


def _line(row: dict[str, Any]) -> bytes:
    return json_text(row).encode() + b"\n"


def _is_row(row: dict[str, Any]) -> bool:
    """Whether a line has what is asked of it later, and names its own pair's files and no others."""
    index, styles = row.get("index"), row.get("styles")
    if type(index) is not int or index < 0 or row.get("case") != case_name(index):
        return False
    if type(row.get("lesion")) is not bool or type(row.get("attempts")) is not int:
        return False
    if not isinstance(row.get("problems"), list) or not isinstance(styles, list):
        return False
    return all(
        isinstance(style, dict)
        and type(style.get("slice")) is int
        and all(isinstance(style.get(key), str) for key in ("channel", "name", "sha256"))
        for style in styles
    )


def pairs_made(layout: RawLayout, pairs: int, channels: int, save_pv: bool) -> NDArray[np.bool_]:
    """Which of the first `pairs` pairs have a line and all their files, (pairs,) bool. Reads names, opens no image."""
    listed = np.zeros(pairs, bool)
    for row in rows(layout):
        if 0 <= row["index"] < pairs:
            listed[row["index"]] = True
    files = np.zeros(pairs, np.int32)
    _count(files, layout.images, layout.file_ending, range(channels))
    _count(files, layout.labels, layout.file_ending, None)
    if save_pv:
        _count(files, layout.provenance / "pv", ".nii.gz", None)
    return listed & (files == channels + 1 + save_pv)


def remove_leftovers(layout: RawLayout, indices: range) -> None:
    """Delete the half-written files that killed processes left of these pairs; other shards' files are let be."""
    for folder in (layout.images, layout.labels, layout.provenance / "pv"):
        for path in folder.glob(".*partial*"):
            match = _CASE.search(path.name)
            if match and int(match[1]) in indices:
                path.unlink(missing_ok=True)


def _count(files: NDArray[np.int32], folder: Path, ending: str, channels: range | None) -> None:
    """Add to each pair the number of its files in a folder: those of `channels`, or its one file without a channel."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _CASE.fullmatch(entry.name.removesuffix(ending)) if entry.name.endswith(ending) else None
            if match is None or int(match[1]) >= len(files):
                continue
            if (match[2] is None) == (channels is None) and (channels is None or int(match[2]) in channels):
                files[int(match[1])] += 1
