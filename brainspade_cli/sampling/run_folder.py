"""The folder of a sampling run: what it was begun with, who is at work in it, and when it must be left alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainspade_cli.errors import DatasetError
from brainspade_cli.files import write_json
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling.shards import Shard

FORMAT = 1
RUN_FILE = "run.json"


def read_run(layout: RawLayout) -> dict[str, Any] | None:
    """run.json of a dataset that a run has begun, None for a folder that is empty or absent.

    Raises DatasetError for a folder that holds anything else.
    """
    path = layout.provenance / RUN_FILE
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if layout.folder.exists() and (not layout.folder.is_dir() or any(_contents(layout))):
            raise DatasetError(f"{layout.folder} holds something else; choose an empty folder with --out.") from None
        return None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); choose another folder with --out.") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT or not isinstance(run.get("settings"), dict):
        raise DatasetError(f"{path} is of another version of brainspade; choose another folder with --out.")
    return run


def check_settings(layout: RawLayout, run: Mapping[str, Any], settings: Mapping[str, Any], pairs: int) -> None:
    """Raise DatasetError, saying what differs, unless a run with these settings may go on in the folder."""
    begun = run["settings"]
    differences = []
    for key in sorted(begun.keys() | settings.keys()):
        old, new = begun.get(key), settings.get(key)
        if old != new:
            plain = not isinstance(old, dict | list) and not isinstance(new, dict | list)
            name = key.replace("_", " ")
            differences.append(f"{name} {_said(old)}, now {_said(new)}" if plain else f"other {name}")
    if differences:
        raise DatasetError(
            f"{layout.folder} was begun with {'; '.join(differences)}. Repeat the first command, or choose another "
            "folder with --out."
        )
    if run["pairs"] > pairs:
        raise DatasetError(
            f"{layout.folder} is a run of {run['pairs']} pairs; ask for as many or more, or choose another folder "
            "with --out."
        )


def write_run(layout: RawLayout, settings: Mapping[str, Any], pairs: int, record: Mapping[str, Any]) -> None:
    """Write run.json. `settings` decide what the pairs are and must stay; `record` is for people to read."""
    write_json(layout.provenance / RUN_FILE, {"format": FORMAT, "pairs": pairs, "settings": settings, **record})


@contextmanager
def at_work(layout: RawLayout, shard: Shard) -> Iterator[None]:
    """Hold a shard of a dataset while the block runs.

    Raises DatasetError where another process has it, or is at work with another number of shards: the two would make
    the same pairs. The hold ends with the process, however that ends.
    """
    if sys.platform == "win32":  # without flock; files are whole all the same, and equal whoever writes them
        yield
        return
    path = layout.provenance / f".at-work-{shard.number}-of-{shard.count}"
    for other in layout.provenance.glob(".at-work-*"):
        if not other.name.endswith(f"-of-{shard.count}"):
            handle = _hold(other)
            if handle is None:
                raise DatasetError(
                    f"Another run is at work in {layout.folder} with another --shard; wait for it, or divide alike."
                )
            _let_go(other, handle)
    handle = _hold(path)
    if handle is None:
        whole = "" if shard.count == 1 else f" on shard {shard}"
        raise DatasetError(f"Another run is at work in {layout.folder}{whole}; wait for it, or choose another --out.")
    try:
        yield
    finally:
        _let_go(path, handle)


def _hold(path: Path) -> int | None:
    """Lock a file that may be made for it; None where another process holds it, -1 where locks are not to be had."""
    import fcntl

    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # network file systems without locks: the run goes on without
            os.close(handle)
            return -1
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # its last holder removed the file between our two calls


def _let_go(path: Path, handle: int) -> None:
    path.unlink(missing_ok=True)
    if handle >= 0:
        os.close(handle)


def _contents(layout: RawLayout) -> Iterator[Path]:
    """What a folder holds, but for the empty folders and hidden files of a run that has not written its record yet."""
    for path in layout.folder.rglob("*"):
        if not path.is_dir() and not path.name.startswith("."):
            yield path


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
