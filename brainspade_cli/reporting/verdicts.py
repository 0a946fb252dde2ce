"""What other commands wrote of a dataset, beside it in brainspade/: out of date as soon as its pairs change."""

from __future__ import annotations

from contextlib import suppress

from brainspade_cli.auditing.report import PICTURES, REPORT, TABLE
from brainspade_cli.nnunet.raw import RawLayout

EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"


def remove_verdicts(layout: RawLayout) -> tuple[str, ...]:
    """Delete the audit with its pictures, the evaluation and the report; what is absent, or of others, is let be.

    Returns the names of the tables and reports that were there.
    """
    there = tuple(
        name for name in (REPORT, TABLE, EVALUATION_FILE, REPORT_FILE) if (layout.provenance / name).is_file()
    )
    for name in there:
        (layout.provenance / name).unlink(missing_ok=True)
    pictures = layout.provenance / PICTURES
    for path in pictures.glob("*.png"):
        path.unlink(missing_ok=True)
    # It is absent, or holds files that no audit wrote.
    with suppress(OSError):
        pictures.rmdir()
    return there
