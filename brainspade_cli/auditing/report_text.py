"""The report of an audit for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainspade_cli.auditing.report import PICTURES, TABLE, printable

_ROW = "  {:<54} {:>6} {:>6} {:>6} {:>7}"
_SCORES = {
    "generated_training": "made slices, nearest training slice",
    "generated_held_out": "made slices, nearest slice of a held-out person",
    "people_training": "training slices, nearest of another training person",
    "held_out_training": "slices of held-out people, nearest training slice",
}
_SHOWN = 10


def report_text(report: Mapping[str, Any]) -> str:
    """All of a report in words, line by line; the last names the file, or says what is not to be handed on."""
    return "\n".join(printable(line) for line in _lines(report))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{report['dataset']}: {report['pairs']} pairs against {report['against']['name']}"
    for name in ("labels", "images"):
        if report[name] is not None:
            yield ""
            yield from _section(name, report[name])
    yield ""
    for note in report["notes"]:
        yield f"note: {note}"
    yield f"verdict: {report['verdict']}: {_verdict(report)}"
    yield f"The whole report: {report['file']}"
    if any(flag["picture"] for name in ("labels", "images") if report[name] for flag in report[name]["flagged"]):
        yield (
            f"{Path(report['file']).parent / PICTURES} shows slices of training people, and audit.json and {TABLE} "
            "name them: remove these before you hand the dataset on."
        )
    elif report["against"]["what"] == "slices":
        yield f"{TABLE} beside it names people of the slice set: remove it before you hand the dataset on."


def _verdict(report: Mapping[str, Any]) -> str:
    """What the verdict says, of which parts, and of which it says nothing."""
    parts = ", ".join(report["audited"])
    missing = f"; not audited: {', '.join(report['not_audited'])}" if report["not_audited"] else ""
    if report["verdict"] == "copies":
        return f"slices repeat people of the training set (audited: {parts}{missing})"
    weaker = ", as far as codes tell" if report["against"]["what"] == "weights" else " of the slice set"
    return f"no slice repeats anyone{weaker} (audited: {parts}{missing})"


def _section(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    found = part["flagged"]
    yield (
        f"{name.upper()}: {len(found)} of {part['looked_at']} repeat a slice of {part['training']['people']} training "
        f"people (agreement above {part['threshold']:.2f})"
    )
    alarms = part["false_alarms"]
    counted = f"{alarms['alarms']} of {alarms['slices']} slices of {alarms['of']}"
    yield f"  false alarms: {part['false_alarm_rate']:.2%} ({counted})"
    yield _ROW.format("agreement (1 = the same) of", "5 %", "half", "95 %", "highest")
    for key, words in _SCORES.items():
        figures = part["scores"][key]
        if figures is not None:
            yield _ROW.format(words, *(f"{figures[column]:.2f}" for column in ("q05", "q50", "q95", "highest")))
    nearer = part["nearer_training"]
    if nearer is not None:
        yield (
            f"  {nearer['share']:.0%} agree more with a training person than with a held-out one; "
            f"{nearer['expected']:.0%} of all people are training people"
        )
    for flag in found[:_SHOWN]:
        where = "a training slice" if flag["training"] is None else _place(flag["training"])
        picture = f", see audit/{flag['picture']}" if flag["picture"] else ""
        channel = f" {flag['channel']}" if "channel" in flag else ""
        yield f"  {flag['case']}{channel} repeats {where} ({flag['score']:.2f}){picture}"
    if len(found) > _SHOWN:
        yield f"  ... and {len(found) - _SHOWN} more, in the report"


def _place(training: Mapping[str, Any]) -> str:
    return f"{training['scan']} {training['what']} slice {training['slice']}"
