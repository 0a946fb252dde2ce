"""The sections of a report, each from the part of a dataset's record that it tells of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from brainspade_cli.anatomy import Label
from brainspade_cli.checked import count, number, table, tables, text, texts
from brainspade_cli.pictures import colour_label, grey_of, overlay, upright
from brainspade_cli.reporting import page
from brainspade_cli.reporting.audit_facts import AuditFacts, AuditPart, FlaggedPair, read_pair_picture
from brainspade_cli.reporting.cases import ShownCase
from brainspade_cli.reporting.charts import common_limits, histogram_chart
from brainspade_cli.reporting.facts import RunFacts
from brainspade_cli.reporting.statistics import SampleStatistics

# Width of one picture in a case's strip, in the browser's units.
TILE_REM = 5.5
MOST_FLAGGED = 24
MOST_FIGURES = 200
# Reports nest their figures less deeply than this; what is deeper is none of ours.
DEEPEST = 12
_SCORES = {
    "generated_training": "made, with the nearest training slice",
    "generated_held_out": "made, with the nearest slice of a held-out person",
    "people_training": "training people, with each other",
    "held_out_training": "held-out people, with the nearest training slice",
}
_VERDICTS = {
    "pass": ("good", "Passed: nothing lies nearer to a slice that it was held against than people lie to each other."),
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
            ("labels", "handed over, not drawn" if run.given_labels else ""),
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
    parts += [page.paragraph(line, "bad") for line in texts(record.get("warnings"))]
    return page.section("How it was made", *(parts or [page.paragraph("The folder keeps no record of its run.")]))


def audit(found: AuditFacts, pairs: int, *, with_pairs: bool) -> str:
    """The verdict, the scores, and what was flagged; `pairs`: how many the dataset holds.

    with_pairs: show each flagged slice beside the one it repeats, and name that one; both are patients'.
    """
    kind, words = _VERDICTS[found.verdict]
    parts = [page.paragraph(words, f"verdict {kind}"), _outdated("audit", found.pairs, pairs)]
    flagged = any(part.flagged for part in found.parts)
    if flagged and with_pairs:
        parts.append(page.paragraph("The pairs below show slices of patients: keep this page to yourself.", "bad"))
    if flagged and not with_pairs:
        words = "The slices that are repeated are patients', and not shown here; brainspade preview --with-pairs does."
        parts.append(page.paragraph(words, "soft"))
    for part in found.parts:
        parts.append(f"<h3>{page.text(part.kind.capitalize())}</h3>")
        counted = f" of {part.looked_at}" if part.looked_at is not None else ""
        among = f" among {part.alarms_among}" if part.alarms_among else ""
        rate = None if part.false_alarm_rate is None else f"{part.false_alarm_rate:.2%}"
        rows = [
            ("flagged", f"{len(part.flagged)}{counted}"),
            ("agreement above which a slice counts as a copy", part.threshold),
            (f"false alarms{among}", rate),
        ]
        parts.append(page.table([row for row in rows if row[1] is not None]))
        parts += _scores(part)
        parts += _pairs(part) if with_pairs else _flagged_cases(part)
    parts += [page.paragraph(note, "soft") for note in found.notes]
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


def evaluation(report: Mapping[str, Any], pairs: int) -> str:
    """The figures of brainspade/evaluation.json, and its notes; `pairs`: how many the dataset holds."""
    rows = [row for _, row in zip(range(MOST_FIGURES), _figures(report, ()), strict=False)]
    whom = text(table(report.get("against")).get("what"))
    return page.section(
        "Evaluation",
        page.paragraph(f"Against {whom}." if whom else "Against nobody: figures of the dataset alone."),
        _outdated("evaluation", count(report.get("pairs")), pairs),
        page.table(rows, ("figure", "value", "from", "to", "real people", "")) if rows else "",
        *(page.paragraph(note, "soft") for note in texts(report.get("notes"))),
    )


def _outdated(what: str, looked_at: int | None, pairs: int) -> str:
    """A warning where an audit or an evaluation is of another number of pairs than the dataset holds."""
    if looked_at is None or looked_at == pairs:
        return ""
    return page.paragraph(f"This {what} is of {looked_at} pairs, and there are {pairs} now: repeat it.", "bad")


def _style_rows(record: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for style in tables(record.get("styles"))[:MOST_FIGURES]:
        place = table(style.get("range"))
        verdict = (
            {True: "outside what the weights saw", False: "inside"}.get(place.get("outside") is True) if place else ""
        )
        facts = [_shown(place.get(key)) for key in ("distance", "limit")]
        channel, name, digest = (text(style.get(key)) for key in ("channel", "name", "sha256"))
        yield (channel, name, *facts, verdict, digest)


def _scores(part: AuditPart) -> Iterator[str]:
    rows = [(words, *part.scores[name]) for name, words in _SCORES.items() if name in part.scores]
    if rows:
        cells = [tuple("" if value is None else value for value in row) for row in rows]
        yield page.table(cells, ("agreement (1 = the same) of slices", "slices", "5 %", "half", "95 %", "highest"))


def _pairs(part: AuditPart) -> Iterator[str]:
    figures = []
    for pair in part.flagged[:MOST_FLAGGED]:
        repeated = f"repeats {pair.training or 'a training slice'}"
        opened = None if pair.picture is None else read_pair_picture(pair.picture)
        image = "" if opened is None else page.picture(opened, f"{pair.case} {repeated}")
        caption = page.text(f"{_flagged_case(pair)} {repeated}{_score(pair)}")
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    if figures:
        yield f'<div class="grid">{"".join(figures)}</div>'
    yield from _more_flagged(part)


def _flagged_cases(part: AuditPart) -> Iterator[str]:
    if part.flagged:
        named = (f"{_flagged_case(pair)}{_score(pair)}" for pair in part.flagged[:MOST_FLAGGED])
        yield page.paragraph(f"Flagged: {'; '.join(named)}.")
    yield from _more_flagged(part)


def _flagged_case(pair: FlaggedPair) -> str:
    return f"{pair.case} {pair.channel}".strip()


def _score(pair: FlaggedPair) -> str:
    return "" if pair.score is None else f" ({pair.score:.2f})"


def _more_flagged(part: AuditPart) -> Iterator[str]:
    if len(part.flagged) > MOST_FLAGGED:
        yield page.paragraph(f"{len(part.flagged) - MOST_FLAGGED} more are in audit.json.", "soft")


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
    if not isinstance(value, dict) or len(path) > DEEPEST:
        return
    if number(value.get("value")) is not None:
        within = (
            {True: "as the real", False: "off"}.get(value["within"]) if isinstance(value.get("within"), bool) else ""
        )
        numbers = [_shown(value.get(key)) for key in ("value", "low", "high", "usual")]
        yield (" / ".join(path), *numbers, within)
        return
    for key, part in value.items():
        # One figure for each of some hundred statistics; the families sum them up.
        if key != "statistics":
            yield from _figures(part, (*path, str(key)))


def _shown(value: Any) -> object:
    """A number for a cell of a table, which stays empty for anything else."""
    found = number(value)
    return "" if found is None else found
