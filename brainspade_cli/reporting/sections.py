"""The sections of a report, each from the part of a dataset's record that it tells of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from brainspade_cli.anatomy import Label
from brainspade_cli.pictures import colour_label, grey_of, overlay, upright
from brainspade_cli.reporting import page
from brainspade_cli.reporting.audit_facts import AuditFacts, AuditPart, read_pair_picture
from brainspade_cli.reporting.cases import ShownCase
from brainspade_cli.reporting.charts import common_limits, histogram_chart
from brainspade_cli.reporting.facts import RunFacts
from brainspade_cli.reporting.statistics import SampleStatistics

# Width of one picture in a case's strip, in the browser's units.
TILE_REM = 5.5
MOST_FLAGGED = 24
MOST_FIGURES = 200
_VERDICTS = {
    "pass": ("good", "Passed: nothing lies nearer to a training slice than people lie to each other."),
    "copies": ("bad", "Copies found: some slices lie nearer to a training slice than people lie to each other."),
    "": ("bad", "audit.json gives no verdict."),
}


def head(name: str, counts: Sequence[tuple[str, object]]) -> str:
    """Title, what this is, and the first figures."""
    return (
        f"<header><h1>{page.text(name)}</h1>"
        + page.paragraph("Synthetic brain MRI made by brainspade. Not for diagnosis.", "soft")
        + page.table([(name, str(value)) for name, value in counts])
        + "</header>"
    )


def provenance(runs: Sequence[RunFacts], record: Mapping[str, Any]) -> str:
    """Commands, weights, hashes, seeds and styles; `record` is the run.json, {} where there is none."""
    parts = []
    for run in runs:
        parts.append(f"<h3>{page.text(run.dataset)}</h3>")
        if run.command:
            parts.append(f"<pre>{page.text(run.command)}</pre>")
        rows = [
            ("pairs", str(run.pairs)),
            ("seed", "not on record" if run.seed is None else str(run.seed)),
            ("brainspade", run.version),
            ("weights", f"{run.weights} ({run.source})"),
            ("revision", run.revision),
            ("terms", run.licence),
            ("trained on", ", ".join(run.trained_on)),
            *((f"SHA-256 of {name}", digest) for name, digest in sorted(run.sha256.items())),
        ]
        parts.append(page.table([row for row in rows if row[1] not in ("", " ()")]))
    styles = list(_style_rows(record))
    if styles:
        parts.append("<h3>Styles</h3>")
        parts.append(page.table(styles, ("channel", "scan", "distance", "limit", "", "SHA-256")))
    warnings = record.get("warnings")
    parts += [page.paragraph(line, "bad") for line in (warnings if isinstance(warnings, list) else ())]
    return page.section("How it was made", *(parts or [page.paragraph("The folder keeps no record of its run.")]))


def audit(found: AuditFacts) -> str:
    """The verdict, the scores, and the flagged pairs side by side."""
    kind, words = _VERDICTS[found.verdict]
    parts = [page.paragraph(words, f"verdict {kind}")]
    for part in found.parts:
        parts.append(f"<h3>{page.text(part.kind.capitalize())}</h3>")
        rows = [
            ("flagged", len(part.flagged)),
            ("threshold", part.threshold),
            ("false alarms on held-out people", part.false_alarm_rate),
            *part.scores.items(),
        ]
        parts.append(page.table([row for row in rows if row[1] is not None]))
        parts += _flagged(part)
    return page.section("Audit: does it copy anybody?", *parts)


def cases(shown: Sequence[ShownCase], labels: Sequence[Label], total: int) -> str:
    """Contact sheet: for each case its label, and by channel the style (where known), the image and the overlay."""
    keys = "".join(
        f'<span><i class="key" style="background:rgb{label.colour}"></i> {page.text(label.name)}</span>'
        for label in labels[1:]
    )
    figures = [_case_figure(case, labels) for case in shown]
    tiles = max(1 + 2 * len(case.images) + len(case.styles) for case in shown)
    return page.section(
        "Slices",
        page.paragraph(
            f"{len(shown)} of {total} cases, spread evenly. Anterior is up, the patient's left at the left."
        ),
        f'<p class="legend soft">{keys}</p>',
        f'<div class="grid cases" style="--case:min(100%,{tiles * TILE_REM:g}rem)">{"".join(figures)}</div>',
    )


def histograms(found: SampleStatistics, labels: Sequence[Label]) -> str:
    """Label areas, slice positions, tumour load, and intensities of each tissue in each channel."""
    colours = {label.name: f"rgb{label.colour}" for label in labels}
    areas = [histogram_chart(name, values, "cm2", colours.get(name, "")) for name, values in found.areas.items()]
    slices = [histogram_chart("slice position", found.positions, "mm")]
    slices += [histogram_chart("tumour load", found.loads, "% of the brain")] if len(found.loads) else []
    parts = [
        page.paragraph(f"Areas and positions of {found.counted} slices; a dashed line marks the median."),
        f'<div class="grid">{"".join([*slices, *areas])}</div>',
    ]
    for channel, tissues in found.intensities.items():
        limits = common_limits(tissues.values())
        charts = [histogram_chart(name, part, "SD", colours.get(name, ""), limits) for name, part in tissues.items()]
        parts.append(f"<h3>Intensities by tissue: {page.text(channel)}</h3>")
        parts.append(page.paragraph(f"SDs of the brain about its mean, of {found.looked_at} slices.", "soft"))
        parts.append(f'<div class="grid">{"".join(charts)}</div>')
    return page.section("Histograms", *parts)


def evaluation(report: Mapping[str, Any]) -> str:
    """The figures of brainspade/evaluation.json, and its notes."""
    rows = [row for _, row in zip(range(MOST_FIGURES), _figures(report, ()), strict=False)]
    against = report.get("against")
    whom = against.get("what") if isinstance(against, dict) else None
    notes = report.get("notes")
    return page.section(
        "Evaluation",
        page.paragraph(
            f"Against {whom}." if isinstance(whom, str) else "Against nobody: figures of the dataset alone."
        ),
        page.table(rows, ("figure", "value", "from", "to", "real people", "")) if rows else "",
        *(page.paragraph(note, "soft") for note in (notes if isinstance(notes, list) else ())),
    )


def _style_rows(record: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    styles = record.get("styles")
    for style in (styles if isinstance(styles, list) else [])[:MOST_FIGURES]:
        if not isinstance(style, dict):
            continue
        placed = style.get("range")
        place = placed if isinstance(placed, dict) else {}
        verdict = (
            {True: "outside what the weights saw", False: "inside"}.get(place.get("outside") is True) if place else ""
        )
        facts = [place.get(key) if _is_number(place.get(key)) else "" for key in ("distance", "limit")]
        yield (style.get("channel", ""), style.get("name", ""), *facts, verdict, style.get("sha256", ""))


def _flagged(part: AuditPart) -> Iterator[str]:
    shown = part.flagged[:MOST_FLAGGED]
    figures = []
    for pair in shown:
        score = "" if pair.score is None else f", score {pair.score:.3g}"
        channel = f" {pair.channel}" if pair.channel else ""
        caption = page.text(f"{pair.case}{channel} | {pair.training}{score}")
        opened = None if pair.picture is None else read_pair_picture(pair.picture)
        image = "" if opened is None else page.picture(opened, f"{pair.case} beside {pair.training}")
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    if figures:
        yield f'<div class="grid">{"".join(figures)}</div>'
    if len(part.flagged) > len(shown):
        yield page.paragraph(f"{len(part.flagged) - len(shown)} more are in audit.json.", "soft")


def _case_figure(case: ShownCase, labels: Sequence[Label]) -> str:
    tiles = [("label", colour_label(case.label, labels))]
    for channel, image in case.images.items():
        if channel in case.styles:
            tiles.append((f"style of {channel}", grey_of(case.styles[channel])))
        tiles += [(channel, grey_of(image)), (f"{channel}, label", overlay(grey_of(image), case.label, labels))]
    pictures = [(name, Image.fromarray(np.ascontiguousarray(upright(tile)))) for name, tile in tiles]
    return page.strip_figure(pictures, case.caption)


def _figures(value: Any, path: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    """Every figure in a report: a table with a value and its interval, by its place in the report."""
    if not isinstance(value, dict):
        return
    if _is_number(value.get("value")):
        within = (
            {True: "as the real", False: "off"}.get(value["within"]) if isinstance(value.get("within"), bool) else ""
        )
        numbers = [value[key] if _is_number(value.get(key)) else "" for key in ("value", "low", "high", "usual")]
        yield (" / ".join(path), *map(_short, numbers), within)
        return
    for key, part in value.items():
        # One figure for each of some hundred statistics; the families sum them up.
        if key != "statistics":
            yield from _figures(part, (*path, str(key)))


def _short(value: Any) -> object:
    return float(value) if _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
