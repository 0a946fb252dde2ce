"""The table of losses of a stage: losses.csv, one row a step, that agrees with the checkpoint after a resume."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from brainspade_cli.files import replacing


class LossLog:
    """Appends rows (step, seconds, losses). Rows of `first_step` and later, from a run that went further, are dropped.

    The file is rewritten once, at the first row, so that columns that are new by then get their place.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        self.path = path
        self.rows = [row for row in _read(path) if int(row["step"]) < first_step]
        self.columns: list[str] = []
        self.handle: IO[str] | None = None

    def write(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Append the row of one step; losses are written with all digits that float32 has."""
        if self.handle is None:
            self._open(list(values))
        row = {"step": step, "seconds": f"{seconds:.1f}", **{name: f"{value:.9g}" for name, value in values.items()}}
        csv.DictWriter(self.handle, self.columns).writerow(row)  # type: ignore[arg-type]

    def flush(self) -> None:
        """Bring what was written to the disk."""
        if self.handle is not None:
            self.handle.flush()
            os.fsync(self.handle.fileno())

    def _open(self, names: list[str]) -> None:
        known = list(self.rows[0]) if self.rows else ["step", "seconds"]
        self.columns = known + [name for name in names if name not in known]
        with replacing(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        self.handle = open(self.path, "a", newline="", encoding="utf-8")  # noqa: SIM115 (open while the stage runs)


def _read(path: Path) -> list[dict[str, str]]:
    """Whole rows of a log; a last line that was cut off, or that a power cut spoiled, is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    with_newline = text[: text.rfind("\n") + 1]
    # What Python 3.10 raises at, and later versions take for a text.
    reader = csv.DictReader(line for line in with_newline.splitlines() if "\0" not in line)
    return [row for row in reader if (row.get("step") or "").isdigit() and None not in (*row, *row.values())]
