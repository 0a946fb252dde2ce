"""Locks on folders: who is at work where. A lock ends with its process, however that ends, and never blocks a resume.

The lock is the system's (flock) on a small file, not the file's existence. Network file systems may have no locks: work
then goes on without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainspade_cli.errors import InputError

UNLOCKED = -1


@contextmanager
def alone(path: Path, refusal: InputError) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; raises `refusal` where another process holds it."""
    handle = hold(path)
    if handle is None:
        raise refusal
    try:
        yield
    finally:
        let_go(path, handle)


def hold(path: Path) -> int | None:
    """Lock a file, made for it; None where another process holds it, UNLOCKED where locks are not to be had."""
    if sys.platform == "win32":
        return UNLOCKED
    import fcntl

    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # the latter of network file systems that lock by ranges of bytes
            os.close(handle)
            return None
        except OSError:
            os.close(handle)
            return UNLOCKED
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # its last holder removed the file between our two calls


def let_go(path: Path, handle: int) -> None:
    """Give a lock back that `hold` gave, and remove its file, unless somebody else has put another there since."""
    if handle == UNLOCKED:
        path.unlink(missing_ok=True)
        return
    try:
        if os.path.samestat(os.fstat(handle), os.stat(path)):
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    os.close(handle)
