"""The run behind `brainspade preview`: a picture, and one HTML page that tells all that is on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainspade_cli import __version__
from brainspade_cli.anatomy import Label
from brainspade_cli.console import Reporter
from brainspade_cli.evaluating.read_raw import RawSlices, is_real, open_raw
from brainspade_cli.evaluating.slice_source import evenly
from brainspade_cli.files import disk_errors, replacing, write_text
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import read_json
from brainspade_cli.reporting import sections
from brainspade_cli.reporting.audit_facts import read_audit
from brainspade_cli.reporting.cases import ShownCase, label_table, shown_cases, style_slices
from brainspade_cli.reporting.facts import dataset_runs
from brainspade_cli.reporting.page import page
from brainspade_cli.reporting.statistics import StatisticsCollector
from brainspade_cli.reporting.verdicts import EVALUATION_FILE, REPORT_FILE
from brainspade_cli.sampling.preview import PreviewPanel, PreviewRow, preview_sheet
from brainspade_cli.sampling.run_folder import RUN_FILE

# Cases read for the histograms of intensities, and those of them that are shown.
LOOKED_AT = 200
SHOWN = 24
PREVIEW_ROWS = 8


def make_report(
    folder: Path, styles: Sequence[Path], out: Path | None, reporter: Reporter, *, with_pairs: bool = False
) -> dict[str, Any]:
    """Write the report of a raw dataset that `sample` or `export-nnunet` made, and preview.png; returns a summary.

    styles: scans that the dataset was painted after, to be shown beside what they lent their contrast to; without them
    a preview.png that is there stays. out: the report's file, by default brainspade/report.html in the dataset.
    with_pairs: show what an audit flagged beside the patients' slices. Real cases that were merged in are left out.
    Raises InputError and its kin for what cannot be read, BrainspadeError where the disk does not play along.
    """
    found = open_raw(folder, made_only=True)
    labels = label_table(found.names)
    shown, statistics = _look(found, labels, style_slices(styles), reporter)
    layout = RawLayout(folder, found.dataset.header.file_ending)
    target = out or layout.provenance / REPORT_FILE
    with disk_errors(folder):
        layout.provenance.mkdir(exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        preview = _write_preview(layout, shown, labels, keep=not styles)
        write_text(target, _report(found, shown, labels, statistics, with_pairs=with_pairs))
    return {
        "folder": str(folder),
        "report": str(target),
        "preview": None if preview is None else str(preview),
        "cases": len(found.cases),
        "looked_at": min(LOOKED_AT, len(found.cases)),
        "shown": len(shown),
        "bytes": target.stat().st_size,
    }


def _look(
    found: RawSlices, labels: Sequence[Label], styles: Mapping[str, Any], reporter: Reporter
) -> tuple[list[ShownCase], StatisticsCollector]:
    """Read a part of the cases, of which some are kept to be shown."""
    collector = StatisticsCollector(labels)
    collector.add_rows(row for row in found.rows.values() if not is_real(row))
    count = min(LOOKED_AT, len(found.cases))
    keep = frozenset(evenly(count, SHOWN))
    shown = []
    with reporter.progress("slices", count) as advance:
        for place, case in enumerate(shown_cases(found, LOOKED_AT, styles)):
            collector.add_case(case)
            if place in keep:
                shown.append(case)
            advance()
    return shown, collector


def _write_preview(
    layout: RawLayout, shown: Sequence[ShownCase], labels: Sequence[Label], *, keep: bool
) -> Path | None:
    """Write preview.png; slices of another size than this project's have none. keep: let one that is there be.

    That of `sample` shows the styles, which nothing but the scans themselves could show again.
    """
    path = layout.provenance / "preview.png"
    if keep and path.is_file():
        return path
    if any(case.label.shape != SLICE_SHAPE for case in shown):
        return None
    rows = [_preview_row(shown[place]) for place in evenly(len(shown), PREVIEW_ROWS)]
    with replacing(path) as temporary:
        preview_sheet(rows, labels).save(temporary, "png")
    return path


def _preview_row(case: ShownCase) -> PreviewRow:
    panels = tuple(
        PreviewPanel(channel, "the scan" if channel in case.styles else None, image, case.styles.get(channel))
        for channel, image in case.images.items()
    )
    return PreviewRow(case.caption, case.label, panels)


def _report(
    found: RawSlices,
    shown: Sequence[ShownCase],
    labels: Sequence[Label],
    statistics: StatisticsCollector,
    *,
    with_pairs: bool,
) -> str:
    folder = found.dataset.folder
    header = found.dataset.header
    provenance = RawLayout(folder, "").provenance
    total = len(found.dataset.cases)
    counts = [
        ("cases", total),
        ("real cases among them", total - len(found.cases)),
        ("channels", ", ".join(header.channel_names)),
        ("labels", ", ".join(f"{label.channel} {label.name}" for label in labels)),
        ("format", header.file_ending),
        ("report by", f"brainspade {__version__}"),
    ]
    audited = read_audit(folder)
    evaluated = _table(provenance / EVALUATION_FILE)
    parts = [
        sections.head(folder.resolve().name, counts),
        sections.audit(audited, len(found.cases), with_pairs=with_pairs) if audited else "",
        sections.cases(shown, labels, len(found.cases)),
        sections.histograms(statistics.result(), labels),
        sections.evaluation(evaluated, len(found.cases)) if evaluated else "",
        sections.provenance(dataset_runs(folder), _table(provenance / RUN_FILE)),
    ]
    return page(f"{folder.resolve().name} - brainspade", filter(None, parts))


def _table(path: Path) -> dict[str, Any]:
    """A JSON table that may be there; {} where it is not, or is none."""
    try:
        data = read_json(path)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
