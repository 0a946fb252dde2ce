"""What a card tells of a dataset: counted in one pass over its manifest, and read from the record of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainspade_cli.checked import count, table, tables, text, texts
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import read_json
from brainspade_cli.sampling.run_folder import RUN_FILE

# What the runs behind an export were, for exports of exports.
RUNS_FILE = "runs.json"
# Columns of the manifest that a Croissant record may have.
COLUMNS = ("case", "files", "lesion", "position_mm")


@dataclass(frozen=True)
class RunFacts:
    """One sampling run behind a dataset. What older runs did not put on record is empty.

    `given_labels`: it painted label maps that a user gave it, and drew none.
    """

    dataset: str
    pairs: int
    seed: int | None = None
    command: str = ""
    version: str = ""
    weights: str = ""
    source: str = ""
    revision: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    trained_on: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    given_labels: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; `run_facts` reads it back."""
        return {
            "dataset": self.dataset,
            "pairs": self.pairs,
            "command": self.command,
            "settings": {"seed": self.seed, "labels": self.given_labels or None},
            "made_with": {"brainspade": self.version},
            "weights": {
                "name": self.weights,
                "source": self.source,
                "revision": self.revision or None,
                "sha256": dict(self.sha256),
                "licence": self.licence,
                "trained_on": list(self.trained_on),
            },
            "styles": [{"name": name} for name in self.styles],
        }


@dataclass(frozen=True)
class DatasetFacts:
    """A dataset as its card and its Croissant description tell it. `columns`: what every row of the manifest has."""

    name: str
    file_ending: str
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    cases: int
    real: int
    lesions: int
    columns: tuple[str, ...]
    pv: bool
    runs: tuple[RunFacts, ...]

    @property
    def made(self) -> int:
        """Number of synthetic cases."""
        return self.cases - self.real


@dataclass
class RowCounts:
    """What is counted over a manifest's rows, one at a time; memory does not grow with them."""

    rows: int = 0
    lesions: int = 0
    _columns: set[str] = field(default_factory=lambda: set(COLUMNS))

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        self.rows += 1
        self.lesions += row.get("lesion") is True
        self._columns &= row.keys()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that every row has, in their order."""
        return tuple(name for name in COLUMNS if name in self._columns) if self.rows else ()


def dataset_runs(folder: Path) -> tuple[RunFacts, ...]:
    """The runs behind a dataset that `sample` or `export-nnunet` made, as far as they are on record there."""
    provenance = RawLayout(folder, "").provenance
    for name in (RUN_FILE, RUNS_FILE):
        try:
            data = read_json(provenance / name)
        except (OSError, ValueError):
            continue
        entries = tables(data if isinstance(data, list) else [data])
        return tuple(run_facts(entry, folder.resolve().name) for entry in entries)
    return ()


def run_facts(run: Mapping[str, Any], dataset: str) -> RunFacts:
    """What a run.json tells, anything of it that is missing or of another type left out."""
    weights, settings, made_with = (table(run.get(key)) for key in ("weights", "settings", "made_with"))
    seed = settings.get("seed")
    return RunFacts(
        dataset=text(run.get("dataset")) or dataset,
        pairs=count(run.get("pairs")) or 0,
        seed=seed if type(seed) is int else None,
        command=text(run.get("command")),
        version=text(made_with.get("brainspade")),
        weights=text(weights.get("name")),
        source=text(weights.get("source")),
        revision=text(weights.get("revision")),
        sha256={str(name): text(digest) for name, digest in table(weights.get("sha256")).items()},
        licence=text(weights.get("licence")),
        trained_on=unique(texts(weights.get("trained_on"))),
        styles=unique(text(style.get("name")) for style in tables(run.get("styles"))),
        # Exports of earlier versions keep the command alone.
        given_labels=settings.get("labels") is not None or " --labels " in text(run.get("command")),
    )


def unique(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts that are not empty, each once, in their order."""
    return tuple(dict.fromkeys(text for text in texts if text))
