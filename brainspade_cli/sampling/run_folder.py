"""The folder of a sampling run: what it was begun with, who is at work in it, and when it must be left alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainspade_cli import __version__
from brainspade_cli.checked import items
from brainspade_cli.errors import DatasetError
from brainspade_cli.files import create_json, remove_partials, write_json
from brainspade_cli.locks import UNLOCKED, alone, hold, let_go
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import read_json
from brainspade_cli.sampling.shards import Shard

FORMAT = 1
RUN_FILE = "run.json"
# How a difference is told that nobody would know by its name.
_OTHER = {
    "subjects": "its style scans in other folders, by which other ones go together",
    "labels": "other files of labels, or none",
}


def read_run(layout: RawLayout) -> dict[str, Any] | None:
    """run.json of a dataset that a run has begun, None for a folder that is empty or absent.

    Raises DatasetError for a file, and for a folder that holds anything else.
    """
    path = layout.provenance / RUN_FILE
    try:
        run = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        for place in (layout.folder, *layout.folder.parents):
            if place.exists() and not place.is_dir():
                raise DatasetError(f"{place} is no folder; choose an empty one with --out.") from None
        if any(_contents(layout)):
            if path.exists():  # another shard has begun the run between our two looks
                return read_run(layout)
            raise DatasetError(f"{layout.folder} holds something else; choose an empty folder with --out.") from None
        return None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); choose another folder with --out.") from error
    readable = isinstance(run, dict) and run.get("format") == FORMAT and isinstance(run.get("settings"), dict)
    if not readable or type(run.get("pairs")) is not int:
        raise DatasetError(f"{path} is of another version of brainspade; choose another folder with --out.")
    return run


def check_settings(layout: RawLayout, run: Mapping[str, Any], settings: Mapping[str, Any], pairs: int) -> None:
    """Raise DatasetError, saying what differs, unless a run with these settings may go on in the folder."""
    begun = run["settings"]
    check_version(layout, run, settings.get("pairs_version"))
    differences = []
    for key in sorted(begun.keys() | settings.keys()):
        old, new = begun.get(key), settings.get(key)
        if old != new and not _follows(key, begun, settings):
            plain = not isinstance(old, dict | list) and not isinstance(new, dict | list)
            name = key.replace("_", " ")
            other = _stripped_otherwise(old, new) if key == "styles" else _OTHER.get(key, "")
            differences.append(other or (f"{name} {_said(old)}, now {_said(new)}" if plain else f"other {name}"))
    if differences:
        raise DatasetError(
            f"{layout.folder} was begun with {'; '.join(differences)}. To go on, repeat the command that began it "
            f"(without folders it stands in {layout.provenance / RUN_FILE}); else choose another folder with --out."
        )
    if run["pairs"] > pairs:
        raise DatasetError(
            f"{layout.folder} is a run of {run['pairs']} pairs; ask for as many or more, or choose another folder "
            "with --out."
        )


def _stripped_otherwise(old: Any, new: Any) -> str:
    """What differs between two settings `styles` whose scans are the same ones; empty where these are not.

    Each style is a list of channel, name, SHA-256 and, where a skull was taken off, "stripped".
    """
    before, now = ([items(style) for style in items(styles)] for styles in (old, new))
    if [style[:3] for style in before] != [style[:3] for style in now]:
        return ""
    if sum(map(len, before)) > sum(map(len, now)):
        return "skulls taken off its styles, now on them (install the extra `brainspade[strip]` again)"
    return "skulls on its styles, now taken off (by the extra `brainspade[strip]`)"


def _follows(key: str, begun: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a difference follows from one that is told: a solver from sampler or steps, much from styles, --tumour.

    Patients are drawn by other networks of the weights, and networks that one of the two alone uses cannot be compared.
    Where these are of other weights, that is told once --tumour is as it was.
    """
    if key == "subjects" and begun.get("styles") != settings.get("styles"):
        return True
    if key == "solver" and any(begun.get(name) != settings.get(name) for name in ("sampler", "steps")):
        return True
    if begun.get("tumour") == settings.get("tumour"):
        return False
    if key.endswith("_fraction"):
        # A fraction of no lesions is none, whatever was asked for.
        return 0.0 in (begun.get(key), settings.get(key))
    old, new = begun.get("weights"), settings.get("weights")
    if key not in ("weights", "solver") or not isinstance(old, dict) or not isinstance(new, dict):
        return False
    files = (old.keys() & new.keys()) - {"settings"}
    return bool(files) and all(old[name] == new[name] for name in files)


def check_version(layout: RawLayout, run: Mapping[str, Any], new: int | None) -> None:
    """Raise DatasetError where the run's pairs are not of version `new`: no command of this brainspade goes on."""
    old = run["settings"].get("pairs_version")
    if old == new:
        return
    made_with = run.get("made_with")
    named = made_with.get("brainspade") if isinstance(made_with, dict) else None
    # A version that has not been released yet may make other pairs than it did and still be called the same.
    known = f" ({named})" if isinstance(named, str) and named != __version__ else ""
    age = "a newer" if isinstance(old, int) and isinstance(new, int) and old > new else "an older"
    raise DatasetError(
        f"{layout.folder} was begun by {age} version of brainspade{known}, whose pairs differ from those of this one; "
        "finish it with that version, or choose another folder with --out."
    )


def begin_run(layout: RawLayout, settings: Mapping[str, Any], pairs: int, record: Mapping[str, Any]) -> None:
    """Put a run on record, or take note that it goes on, perhaps with more pairs; see `check_settings`, `write_run`.

    Of shards that start at once one writes the record, and the others are checked against it.
    """
    if read_run(layout) is None and create_json(layout.provenance / RUN_FILE, _run(settings, pairs, record)):
        return
    begun = read_run(layout)
    assert begun is not None
    check_settings(layout, begun, settings, pairs)
    if begun["pairs"] < pairs:
        write_run(layout, settings, pairs, record)


def write_run(layout: RawLayout, settings: Mapping[str, Any], pairs: int, record: Mapping[str, Any]) -> None:
    """Write run.json. `settings` decide what the pairs are and must stay; `record` is for people to read."""
    write_json(layout.provenance / RUN_FILE, _run(settings, pairs, record))


def _run(settings: Mapping[str, Any], pairs: int, record: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "pairs": pairs, "settings": settings, **record}


@contextmanager
def at_work(layout: RawLayout, shard: Shard) -> Iterator[None]:
    """Hold a shard of a dataset while the block runs.

    Raises DatasetError where another process has it, or is at work with another number of shards: the two would make
    the same pairs. The hold ends with the process, however that ends.
    """
    whole = "" if shard.count == 1 else f" on shard {shard}"
    busy = DatasetError(f"Another run is at work in {layout.folder}{whole}; wait for it, or choose another --out.")
    with alone(_lock(layout, shard), busy):
        # Shards of the same number are let be: none is to find its lock taken by a look at it.
        for path in layout.provenance.glob(".at-work-*"):
            if not path.name.endswith(f"-of-{shard.count}") and _held(path) is True:
                raise DatasetError(
                    f"Another run is at work in {layout.folder} with another --shard; wait for it, or divide alike."
                )
        yield


def remove_old_records(layout: RawLayout, shard: Shard) -> None:
    """Delete half-written records that killed processes left, unless another shard may be at work and write some."""
    others = [path for path in layout.provenance.glob(".at-work-*") if path != _lock(layout, shard)]
    if all(_held(path) is False for path in others):
        remove_partials(layout.folder)
        remove_partials(layout.provenance)


def _lock(layout: RawLayout, shard: Shard) -> Path:
    return layout.provenance / f".at-work-{shard.number}-of-{shard.count}"


def _held(path: Path) -> bool | None:
    """Whether a process holds a lock file, None where locks are not to be had. One that nobody holds is removed."""
    handle = hold(path)
    if handle is None:
        return True
    if handle == UNLOCKED:
        return None
    let_go(path, handle)
    return False


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
