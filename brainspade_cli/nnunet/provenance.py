"""What an export says about itself: the marker by which it knows its own folder, and where each case came from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brainspade_cli.errors import DatasetError
from brainspade_cli.files import json_text, write_json, write_text
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import json_lines, read_json
from brainspade_cli.sampling.run_folder import RUN_FILE

# Of the settings that `sample` puts on record, those that drawn labels follow from.
_DRAWING_SETTINGS = ("seed", "tumour", "tumour_fraction", "sampler", "steps", "guidance")
_DRAWING_NETWORKS = ("label_autoencoder", "denoiser_")


def begin_export(layout: RawLayout, record: Mapping[str, Any]) -> None:
    """Make the folder of an export, or go on with the one begun there by the same command.

    `record` is everything that decides what the export holds, as JSON data. Raises DatasetError where the folder holds
    something else, or an export of other things.
    """
    marker = layout.provenance / "export.json"
    try:
        begun = read_json(marker)
    except FileNotFoundError:
        begun = None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{marker} cannot be read ({error}); delete the folder or choose another.") from error
    if begun is None:
        # Empty folders and hidden files may be our own, of a process killed before it wrote the marker.
        files = (path for path in layout.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        if layout.folder.is_file() or any(files):
            raise DatasetError(f"{layout.folder} already holds something else; choose another id, name or folder.")
        layout.create()
        write_json(marker, record)
    elif begun != record:
        changed = [key for key in record if not isinstance(begun, dict) or begun.get(key) != record[key]]
        raise DatasetError(
            f"{layout.folder} holds an export that differs in {', '.join(changed) or 'its settings'}; delete it, or"
            " choose another id or name."
        )


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of a dataset's manifests (one a shard), by case, the last of each; a line cut short by a kill is no row."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "brainspade").glob("manifest*.jsonl")):
        try:
            rows |= {row["case"]: row for row in json_lines(path) if isinstance(row.get("case"), str)}
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror}); delete it or restore it.") from error
    return rows


def write_manifest(layout: RawLayout, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write brainspade/manifest.jsonl, one row a case."""
    text = "".join(json_text(row) + "\n" for row in rows)
    write_text(layout.provenance / "manifest.jsonl", text)


def style_marks(row: Mapping[str, Any]) -> list[str]:
    """Hashes of the style scans of a manifest row: cases that share one are painted in the same scan's style."""
    styles = row.get("styles")
    entries = styles if isinstance(styles, list) else []
    return [str(entry["sha256"]) for entry in entries if isinstance(entry, dict) and entry.get("sha256")]


def drawing_mark(folder: Path) -> str | None:
    """What the drawn labels of a run follow from, besides a pair's number, as a hash; None where it is not on record.

    Two runs of one mark draw the same labels, though a pixel may differ where one of them was made on a GPU or at
    another precision. Raises DatasetError for a record that cannot be read.
    """
    path = folder / "brainspade" / RUN_FILE
    try:
        settings = read_json(path)["settings"]
        networks = {name: value for name, value in settings["weights"].items() if name.startswith(_DRAWING_NETWORKS)}
        drawn = {name: settings[name] for name in _DRAWING_SETTINGS}
    except (FileNotFoundError, KeyError):
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); restore it, or leave --splits out.") from error
    return hashlib.sha256(json.dumps([drawn, networks], sort_keys=True).encode()).hexdigest()


def named_origin(row: Mapping[str, Any]) -> str | None:
    """The case that a given label's file is called after ("sub-01" of "sub-01.nii.gz slice 57"); None of drawn ones."""
    origin = row.get("origin")
    return re.sub(r"\.(nii(\.gz)?|npz)$", "", origin.rpartition(" slice ")[0]) if isinstance(origin, str) else None


def label_marks(row: Mapping[str, Any], drawing: str | None) -> list[str]:
    """What tells the kin of a row's label: the hash of the file that held it, or its number with the `drawing_mark`.

    Slices of one file are of one person.
    """
    if row.get("origin") is not None:
        return [str(row["origin_sha256"])] if row.get("origin_sha256") else []
    return [] if drawing is None or "index" not in row else [f"{drawing} {row['index']}"]


def file_mark(path: Path) -> str:
    """Hash of a file's bytes: labels of one map and height are the same bytes, whichever run wrote them."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
