"""Reading files that anybody may have written: plain ones alone, of bounded size, nested no deeper than can be read.

A named pipe would hold a run for ever, and a device never ends; both are refused before they are opened.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

# Parsed JSON takes up to 25 times the room of its text.
MAX_JSON_BYTES = 64 * 2**20
# A manifest's line has some hundred bytes; a longer one is no line of ours.
MAX_LINE_BYTES = 2**20

Pairs = list[tuple[str, Any]]


def require_plain(path: Path) -> int:
    """Size of a plain file in bytes; raises OSError for what is absent, and for a folder, a pipe or a device."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return status.st_size


def is_hidden(file: Path, root: Path) -> bool:
    """Whether a file below `root`, or a folder on the way to it, has a name with a dot before it, as `._t1.nii.gz`."""
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def files_below(root: Path) -> list[Path]:
    """All files below a folder, sorted, but for hidden ones; folders that are linked there from elsewhere are entered.

    None is entered twice, so links that lead in circles end.
    """
    top = os.path.realpath(root)
    entered, found = {top}, []
    for folder, inside, files in os.walk(root, followlinks=True):
        further = []
        for name in sorted(name for name in inside if not name.startswith(".")):
            real = os.path.realpath(os.path.join(folder, name))
            is_alias = os.path.islink(os.path.join(folder, name)) and Path(real).is_relative_to(top)
            if real not in entered and not is_alias:
                entered.add(real)
                further.append(name)
        inside[:] = further
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found)


def read_bytes(path: Path, limit: int) -> bytes:
    """A plain file's bytes; raises OSError, ValueError where it has more than `limit` of them."""
    if require_plain(path) > limit:
        raise ValueError(f"it is larger than {limit} bytes")
    return path.read_bytes()


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that an open .npy file claims to have, before it is read; raises OSError and ValueError."""
    try:
        if np.lib.format.read_magic(file) == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    except OSError:
        raise
    except Exception as error:  # Python's own parser reads it, and calls what is nested too deeply want of memory
        raise ValueError(f"its header is damaged: {error or type(error).__name__}") from error
    return shape, dtype


def read_json(path: Path, pairs_hook: Callable[[Pairs], Any] | None = None) -> Any:
    """Data of a JSON file in UTF-8; raises OSError, and ValueError for everything that is wrong with the content."""
    return parse_json(read_bytes(path, MAX_JSON_BYTES), pairs_hook)


def parse_json(text: bytes, pairs_hook: Callable[[Pairs], Any] | None = None) -> Any:
    """Data of a JSON text in UTF-8; raises ValueError, also for texts that could not be written to a file again."""
    try:
        data = json.loads(text.decode("utf-8"), object_pairs_hook=pairs_hook)
        if b"\\ud" in text.lower():
            json.dumps(data, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return data


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Tables of a JSONL file, one a line; what is no table is left out, as a line that a kill cut short. OSError."""
    require_plain(path)
    with open(path, "rb") as file:
        yield from json_tables(file)


def json_tables(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Tables of an open JSONL file from where it stands, as `json_lines` gives them."""
    whole = True
    while line := file.readline(MAX_LINE_BYTES):
        begins, whole = whole, line.endswith(b"\n")
        if not begins:
            continue
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
