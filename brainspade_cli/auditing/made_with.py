"""Which weights a dataset was made with: what `sample`, or the runs behind an export, put on record in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import TENSOR_FILES, TRAINING_CODES
from brainspade_cli.errors import DatasetError, InputError, WeightsError
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import read_json
from brainspade_cli.reporting.facts import RUNS_FILE
from brainspade_cli.sampling.run_folder import RUN_FILE
from brainspade_cli.weights import open_bundle

# Codes may be put into weights, and taken out, after the dataset was made.
_FILES = frozenset(TENSOR_FILES) - {f"{TRAINING_CODES}.safetensors"}


def check_weights(layout: RawLayout, bundle: Bundle) -> bool:
    """Whether all runs behind a dataset are on record with their weights, those of the bundle.

    Raises InputError where one was made with other weights, DatasetError for a record that cannot be read.
    """
    runs = list(_runs(layout))
    for used in runs:
        if others := _others(used, bundle):
            raise InputError(
                f"{layout.folder} was made with other weights than {bundle.config.name} ({', '.join(sorted(others))}); "
                "name those with --weights, or the slice set that they were trained on with --against."
            )
    return bool(runs) and all(runs)


def trained_people(layout: RawLayout) -> tuple[str, ...] | None:
    """Whom the weights behind a dataset learnt from; None where that is not on record in the installed weights.

    Raises DatasetError for a record that cannot be read.
    """
    try:
        bundle = open_bundle(None)
    except WeightsError:  # none are installed
        return None
    runs = list(_runs(layout))
    known = bool(runs) and all(used and not _others(used, bundle) for used in runs)
    return bundle.config.people.train if known else None


def _others(used: Mapping[str, Any], bundle: Bundle) -> list[str]:
    """Files that a run used and the bundle does not have, or has otherwise."""
    return [file for file, digest in used.items() if bundle.config.sha256.get(file) != digest]


def _runs(layout: RawLayout) -> Iterator[Mapping[str, Any]]:
    """SHA-256 of the networks by file for each run on record, empty where a run does not tell."""
    path = layout.provenance / RUN_FILE
    run = _read(path, dict)
    if run is not None:
        yield _networks(_table(run.get("settings")).get("weights")) or _hashes(run)
    path = layout.provenance / RUNS_FILE
    for entry in _read(path, list) or []:
        if not isinstance(entry, dict):
            raise _damaged(path, "it is no list of runs")
        yield _hashes(entry)


def _read(path: Path, kind: type[Any]) -> Any:
    """The data of a record, None where there is none."""
    try:
        data = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(data, kind):
        raise _damaged(path, "it is no record of runs")
    return data


def _damaged(path: Path, problem: str) -> DatasetError:
    return DatasetError(f"{path} cannot be read ({problem}); restore it, or audit with --against.")


def _hashes(run: Mapping[str, Any]) -> Mapping[str, Any]:
    return _networks(_table(run.get("weights")).get("sha256"))


def _networks(files: Any) -> Mapping[str, Any]:
    return {file: digest for file, digest in _table(files).items() if file in _FILES}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
