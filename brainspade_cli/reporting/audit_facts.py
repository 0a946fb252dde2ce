"""brainspade/audit.json as the report takes it: nothing in it is believed before its type is right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from brainspade_cli.nnunet.planes import READ_ERRORS, open_picture
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reading import read_json

AUDIT_FILE = "audit.json"
VERDICTS = ("pass", "copies")
KINDS = ("labels", "images")
# Wider pictures are made smaller, so that the page's size is bounded.
WIDEST = 800


@dataclass(frozen=True)
class FlaggedPair:
    """A generated slice that lies too near to one of the training set; `picture`: both side by side, where there is."""

    case: str
    channel: str
    training: str
    score: float | None
    picture: Path | None


@dataclass(frozen=True)
class AuditPart:
    """What the audit found of the labels or of the images. `scores`: quantiles and the like, by name."""

    kind: str
    threshold: float | None
    false_alarm_rate: float | None
    scores: Mapping[str, float]
    flagged: tuple[FlaggedPair, ...]


@dataclass(frozen=True)
class AuditFacts:
    """An audit; `verdict` is "pass", "copies", or empty where the file says neither."""

    verdict: str
    parts: tuple[AuditPart, ...]


def read_audit(folder: Path) -> AuditFacts | None:
    """The audit of a dataset, None where there is none that can be read."""
    provenance = RawLayout(folder, "").provenance
    try:
        data = read_json(provenance / AUDIT_FILE)
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict):
        return None
    verdict = data.get("verdict")
    parts = [_part(kind, data[kind], folder) for kind in KINDS if isinstance(data.get(kind), dict)]
    return AuditFacts(verdict if isinstance(verdict, str) and verdict in VERDICTS else "", tuple(parts))


def read_pair_picture(path: Path) -> Image.Image | None:
    """A flagged pair's picture, at most `WIDEST` pixels wide; None where it is no PNG that can be read."""
    try:
        with open_picture(path) as opened:
            picture = opened.convert("RGB")
    except READ_ERRORS:
        return None
    picture.thumbnail((WIDEST, WIDEST))
    return picture


def _part(kind: str, data: Mapping[str, Any], folder: Path) -> AuditPart:
    flagged, scores = data.get("flagged"), data.get("scores")
    pairs = [_pair(item, folder) for item in flagged if isinstance(item, dict)] if isinstance(flagged, list) else []
    numbers = dict(_numbers(scores)) if isinstance(scores, dict) else {}
    return AuditPart(kind, _number(data.get("threshold")), _number(data.get("false_alarm_rate")), numbers, tuple(pairs))


def _numbers(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a table and of the tables in it, by name."""
    found = []
    for name, value in table.items():
        number = _number(value)
        if number is not None:
            found.append((f"{prefix}{name}", number))
        elif isinstance(value, dict) and not prefix:
            found += _numbers(value, f"{name} ")
    return found


def _pair(item: Mapping[str, Any], folder: Path) -> FlaggedPair:
    return FlaggedPair(
        case=_text(item.get("case")),
        channel=_text(item.get("channel")),
        training=_text(item.get("training")),
        score=_number(item.get("score")),
        picture=_inside(folder, item.get("picture")),
    )


def _inside(folder: Path, name: Any) -> Path | None:
    """The picture that a name means, in the dataset or in its folder brainspade/, and nowhere else."""
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    root = folder.resolve()
    for base in (RawLayout(root, "").provenance, root):
        path = (base / name).resolve()
        if path.is_relative_to(root) and path.is_file():
            return path
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None
