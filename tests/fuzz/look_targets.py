"""The commands that look at a dataset, `preview` and `audit`, fed with spoilt records, pictures and codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.harness import Case
from tests.fuzz.material import Material, linked, quiet, replace

Rng = np.random.Generator
RECORDS = ("audit.json",) * 4 + ("evaluation.json",) * 4 + ("run.json", "runs.json", "manifest.jsonl")
OTHERS = ("audit/01.png", "preview.png", "../dataset.json", "../dataset.json")
VOID = {"meta", "img", "rect", "line", "br"}


def _preview(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.reporting.report import make_report

    made = folder / "out" / "Dataset501_made"
    linked(material.looked_at, made)
    provenance = made / "brainspade"
    name = mutations.pick(rng, RECORDS if rng.random() < 0.8 else OTHERS)
    path = provenance / name
    if path.name == "runs.json":
        # What an export has in the place of run.json.
        path.write_text(json.dumps([json.loads((provenance / "run.json").read_text())]))
        (provenance / "run.json").unlink()
    what = _spoil(path, rng)
    with_pairs = bool(rng.random() < 0.5)
    out = mutations.pick(rng, (None, folder / "out" / "page.html"))

    def run() -> None:
        summary = make_report(made, (), out, quiet(), with_pairs=with_pairs)
        _check_page(Path(summary["report"]))

    return Case(f"{name}: {what}", run, (made.name, path.name))


def _codes(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.bundle_config import TRAINING_CODES
    from brainspade_cli.files import sha256

    bundle, made = folder / "bundle", folder / "out" / "Dataset501_made"
    linked(material.coded, bundle)
    linked(material.dataset, made)
    path = bundle / f"{TRAINING_CODES}.safetensors"
    what, changed = mutations.mutated_safetensors(path.read_bytes(), rng)
    replace(path, changed)
    if rng.random() < 0.03:
        what = mutations.special_file(path, rng)
    elif rng.random() < 0.95:
        config = bundle / "config.json"
        content = json.loads(config.read_text())
        content["sha256"][path.name] = sha256(path)
        replace(config, json.dumps(content).encode())
    return Case(what, _auditing(made, bundle), (bundle.name,))


def _audit_records(material: Material, folder: Path, rng: Rng) -> Case:
    """Records that an audit reads, or takes the place of: of the runs, and of an earlier audit."""
    made = folder / "out" / "Dataset501_made"
    linked(material.looked_at, made)
    provenance = made / "brainspade"
    name = mutations.pick(rng, ("run.json", "run.json", "runs.json", "manifest.jsonl", "audit.json", "audit/01.png"))
    path = provenance / name
    if name == "runs.json":
        path.write_text(json.dumps([json.loads((provenance / "run.json").read_text())]))
        if rng.random() < 0.8:
            (provenance / "run.json").unlink()
    what = _spoil(path, rng)
    old = f"{made.name}/brainspade/audit"
    return Case(f"{name}: {what}", _auditing(made, material.coded), (made.name, path.name), replaces=old)


def _spoil(path: Path, rng: Rng) -> str:
    """Spoil a record or a picture, and say how."""
    content = path.read_bytes()
    if rng.random() < 0.05:
        return mutations.special_file(path, rng)
    if path.suffix == ".png":
        what, changed = mutations.mutated_png(content, rng)
    else:
        lines = content.splitlines() if path.suffix == ".jsonl" else [content]
        place = int(rng.integers(len(lines)))
        what, lines[place] = mutations.mutated_json(json.loads(lines[place]), rng)
        changed = b"\n".join(lines) + b"\n"
    replace(path, changed)
    return what


def _auditing(made: Path, weights: Path) -> Callable[[], None]:
    """An audit of a dataset by the codes of weights, all that it tells included."""
    from brainspade_cli.auditing.audit import AuditRequest, audit
    from brainspade_cli.auditing.report_text import report_text

    def run() -> None:
        report = audit(AuditRequest(made, weights=str(weights)), quiet())
        report_text(report).encode()
        json.dumps(report, allow_nan=False)
        for part in (report["labels"], report["images"]):
            # A threshold that nothing exceeds would pass every copy.
            assert part is None or part["threshold"] < 1, part["threshold"]
            assert part is None or part["false_alarm_rate"] <= 0.5, part["false_alarm_rate"]

    return run


class _Page(HTMLParser):
    """A page whose every element is closed, and that loads nothing and runs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "link", "a"), tag
        self.open += [] if tag in VOID else [tag]
        for name, value in attributes:
            assert not name.startswith("on"), name
            assert name != "src" or str(value).startswith("data:image/"), value

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def _check_page(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    # A dataset of two pairs has a page of some hundred kilobytes.
    assert len(content) < 5_000_000, len(content)
    page = _Page()
    page.feed(content)
    page.close()
    assert not page.open, page.open


BUILDERS = (_preview, _codes, _audit_records)
