"""What other commands wrote of a dataset, beside it in brainspade/: out of date as soon as its pairs change."""

from __future__ import annotations

from contextlib import suppress

from brainspade_cli.auditing.report import PICTURES, REPORT, TABLE
from brainspade_cli.console import Reporter
from brainspade_cli.nnunet.raw import RawLayout

EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"


def remove_verdicts(layout: RawLayout, reporter: Reporter) -> None:
    """Delete the audit with its pictures, the evaluation and the report, and say so; others' files are let be."""
    removed = [name for name in (REPORT, TABLE, EVALUATION_FILE, REPORT_FILE) if (layout.provenance / name).is_file()]
    for name in removed:
        (layout.provenance / name).unlink(missing_ok=True)
    folder = layout.provenance / PICTURES
    if pictures := list(folder.glob("*.png")):
        removed.append(f"{PICTURES}/")
    for path in pictures:
        path.unlink(missing_ok=True)
    # It is absent, or holds files that no audit wrote.
    with suppress(OSError):
        folder.rmdir()
    if removed:
        reporter.say(f"Removed from {layout.provenance}, for the dataset changes: {', '.join(removed)}.")
