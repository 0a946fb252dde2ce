"""brainspade/audit.json as the report takes it: nothing in it is believed before its type is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from brainspade_cli.auditing.report import PICTURES, REPORT
from brainspade_cli.checked import count, number, table, tables, text, texts
from brainspade_cli.nnunet.planes import READ_ERRORS, open_picture
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import read_json

VERDICTS = ("pass", "copies")
KINDS = ("labels", "images")
# Wider pictures are made smaller, so that the page's size is bounded.
WIDEST = 800
# Quantiles of agreement that are shown, by their names in the file: 5 %, half, 95 %, all.
QUANTILES = ("q05", "q50", "q95", "highest")


@dataclass(frozen=True)
class FlaggedPair:
    """A generated slice that lies too near to one of the training set.

    `channel`: empty for labels. `training`: scan, kind and number of the slice it repeats, empty where the file does
    not know it. `picture`: both side by side, where there is one.
    """

    case: str
    channel: str
    training: str
    score: float | None
    picture: Path | None


@dataclass(frozen=True)
class AuditPart:
    """What the audit found of the labels or of the images.

    `alarms_among`: whose slices the rate of false alarms was counted on. `scores`: by name, how many slices and the
    `QUANTILES` of their agreement.
    """

    kind: str
    looked_at: int | None
    threshold: float | None
    false_alarm_rate: float | None
    alarms_among: str
    scores: Mapping[str, tuple[float | None, ...]]
    flagged: tuple[FlaggedPair, ...]


@dataclass(frozen=True)
class AuditFacts:
    """An audit; `verdict` is "pass", "copies", or empty where the file says neither. `pairs`: how many it looked at."""

    verdict: str
    pairs: int | None
    parts: tuple[AuditPart, ...]
    notes: tuple[str, ...]


def read_audit(folder: Path) -> AuditFacts | None:
    """The audit of a dataset, None where there is none that can be read."""
    provenance = RawLayout(folder, "").provenance
    try:
        data = read_json(provenance / REPORT)
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict):
        return None
    verdict = text(data.get("verdict"))
    parts = [_part(kind, data[kind], provenance / PICTURES) for kind in KINDS if isinstance(data.get(kind), dict)]
    return AuditFacts(
        verdict=verdict if verdict in VERDICTS else "",
        pairs=count(data.get("pairs")),
        parts=tuple(parts),
        notes=texts(data.get("notes")),
    )


def read_pair_picture(path: Path) -> Image.Image | None:
    """A flagged pair's picture, at most `WIDEST` pixels wide; None where it is no PNG that can be read."""
    try:
        with open_picture(path) as opened:
            picture = opened.convert("RGB")
    except READ_ERRORS:
        return None
    picture.thumbnail((WIDEST, WIDEST))
    return picture


def _part(kind: str, data: Mapping[str, Any], pictures: Path) -> AuditPart:
    scores = {name: table(value) for name, value in table(data.get("scores")).items() if isinstance(value, dict)}
    return AuditPart(
        kind=kind,
        looked_at=count(data.get("looked_at")),
        threshold=number(data.get("threshold")),
        false_alarm_rate=number(data.get("false_alarm_rate")),
        alarms_among=text(table(data.get("false_alarms")).get("of")),
        scores={
            name: (count(row.get("slices")), *(number(row.get(quantile)) for quantile in QUANTILES))
            for name, row in scores.items()
        },
        flagged=tuple(_pair(item, pictures) for item in tables(data.get("flagged"))),
    )


def _pair(item: Mapping[str, Any], pictures: Path) -> FlaggedPair:
    return FlaggedPair(
        case=text(item.get("case")),
        channel=text(item.get("channel")),
        training=_place(table(item.get("training"))),
        score=number(item.get("score")),
        picture=_inside(pictures, item.get("picture")),
    )


def _place(training: Mapping[str, Any]) -> str:
    """The slice that is repeated, in words; empty where the audit does not know it."""
    slice_number = count(training.get("slice"))
    words = [text(training.get("scan")), text(training.get("what"))]
    return " ".join(filter(None, [*words, "" if slice_number is None else f"slice {slice_number}"]))


def _inside(folder: Path, name: Any) -> Path | None:
    """The picture that a name means, in the audit's own folder of pictures and nowhere else."""
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    root = folder.resolve()
    path = (root / name).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None
