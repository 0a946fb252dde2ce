"""Writing files so that a half-written one is never taken for a whole one: temporary name, flush, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainspade_cli.errors import BrainspadeError, InputError

# What the disk says of a place where nothing can ever be written, rather than of the disk itself.
_NO_PLACE = (
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
)
# What Python puts into names of files for bytes that are no UTF-8.
_NO_UTF_8 = re.compile("[\ud800-\udfff]")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` (same suffixes); on success flush it to disk and rename it over `path`.

    Raises OSError, which names `path`, where the disk does not play along.
    """
    with _temporary(path) as temporary:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    # Random, for processes of one number on two machines may write into one shared folder.
    temporary = path.with_name(f".{secrets.token_hex(4)}.partial.{path.name}")
    try:
        yield temporary
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        # numpy tells a write that was cut short without a number.
        raise OSError(error.errno or errno.EIO, error.strerror or f"cut short: {error}", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force a file's content to disk."""
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def remove_partials(folder: Path) -> None:
    """Delete what killed processes left half-written in a folder. Only for when nobody else writes into it."""
    for pattern in (".????????.partial.*", ".*.????????.partial"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@contextmanager
def disk_errors(place: Path, again: str = "run the same command again") -> Iterator[None]:
    """Raise what the disk refuses while the block runs, writing into `place`, as a BrainspadeError that says it.

    It is an InputError where the place cannot be written to, and was the wrong one to name.
    """
    try:
        yield
    except OSError as error:
        what = f"{error.filename or place} could not be written ({error.strerror or error})"
        if error.errno in _NO_PLACE:
            raise InputError(f"{what}; choose another place, or mend this and {again}.") from error
        raise BrainspadeError(f"{what}; what is finished is kept: mend this and {again}.") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path` in one step; what is no UTF-8, as names of files may be, is spelt out."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, data: Any) -> None:
    """Write JSON data to `path` in one step, indented, with a final newline."""
    write_text(path, json_text(data, indent=1) + "\n")


def create_json(path: Path, data: Any) -> bool:
    """Write JSON data to `path` in one step unless it exists, and tell whether it did not, also to racing processes."""
    with _temporary(path) as temporary:
        temporary.write_text(json_text(data, indent=1) + "\n", encoding="utf-8")
        flush(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # file systems without hard links
            if path.exists():
                return False
            os.replace(temporary, path)
    return True


def json_text(data: Any, indent: int | None = None) -> str:
    """JSON of `data`. What is no UTF-8 in names of files is spelt out, for other programs would refuse the whole."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return _NO_UTF_8.sub(lambda letter: rf"\\u{ord(letter[0]):04x}", text)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
