from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brainspade_cli.anatomy import Label
from brainspade_cli.auditing.audit import AuditRequest, audit
from brainspade_cli.errors import DatasetError, InputError
from brainspade_cli.nnunet.export import export
from brainspade_cli.reporting import report as reporting
from brainspade_cli.reporting.audit_facts import read_audit
from brainspade_cli.reporting.charts import common_limits, histogram_chart
from brainspade_cli.reporting.report import make_report
from brainspade_cli.sampling.preview import PreviewRow
from tests.auditing.conftest import folded_folder as folded_folder
from tests.auditing.folded import folded_dataset, image_of, label_of, new_person
from tests.nnunet.sets import TABLE, real_set, synthetic_set
from tests.reporting.test_cards import RUN, made_set
from tests.sampling.parts import quiet, style_scan

NASTY = "<img src=x onerror=alert(1)>\"'&"
VOID = {"meta", "img", "rect", "line", "br"}


class Balanced(HTMLParser):
    """Reads a page as a browser does, and keeps its tags, addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open += [] if tag in VOID else [tag]
        for name, value in attributes:
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data"):
                self.addresses.append(str(value))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(path: Path) -> Balanced:
    reader = Balanced()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def with_audit(folder: Path, verdict: str = "copies", **flagged: Any) -> Path:
    training = {"scan": "sub-07", "what": "labels", "slice": 12, "position_mm": 4.0}
    pair = {"case": "brainspade_000001", "training": training, "score": 0.91, "picture": "pair.png", **flagged}
    part = {"threshold": 0.8, "false_alarm_rate": 0.01, "scores": {}, "flagged": [pair]}
    (folder / "brainspade" / "audit").mkdir()
    Image.fromarray(np.zeros((256, 384), np.uint8)).save(folder / "brainspade" / "audit" / "pair.png")
    (folder / "brainspade" / "audit.json").write_text(json.dumps({"verdict": verdict, "labels": part, "images": part}))
    return folder


def test_a_report_tells_all_that_is_on_record_and_needs_nothing_else(tmp_path: Path) -> None:
    folder = with_audit(made_set(tmp_path / "Dataset501_a", channels=("t1", "flair")))
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "usual": 0.3, "within": False}
    evaluated = {"labels": {"distance": {"summary": figure, "statistics": {"x": figure}}}, "notes": ["few people"]}
    (folder / "brainspade" / "evaluation.json").write_text(json.dumps(evaluated))
    summary = make_report(folder, (), None, quiet(), with_pairs=True)
    found = parsed(folder / "brainspade" / "report.html")
    words = " ".join(found.words)
    assert summary["shown"] == summary["cases"] == 3
    assert found.tags.isdisjoint({"script", "link", "iframe", "object", "embed"})
    assert len(found.addresses) == 3 * (1 + 2 * 2) + 2
    assert all(address.startswith("data:image/jpeg;base64,") for address in found.addresses)
    assert "url(" not in (folder / "brainspade" / "report.html").read_text()
    for expected in (
        "Copies found",
        "brainspade_000001 repeats sub-07 labels slice 12 (0.91)",
        "labels / distance / summary",
        "off",
        "few people",
    ):
        assert expected in words
    for expected in (RUN["command"], "e" * 64, "Research only.", "oedema"):
        assert expected in words
    assert "statistics" not in words
    assert (folder / "brainspade" / "preview.png").stat().st_size > 10_000


def test_nothing_on_record_is_taken_for_html(tmp_path: Path) -> None:
    folder = with_audit(
        synthetic_set(tmp_path / "Dataset501_a"), case=NASTY, training={"scan": NASTY, "what": NASTY}, channel=NASTY
    )
    run = {**RUN, "command": NASTY, "warnings": [NASTY], "styles": [{"name": NASTY, "channel": NASTY}]}
    (folder / "brainspade" / "run.json").write_text(json.dumps(run))
    figure = {NASTY: {"value": 1.0, "low": NASTY}}
    (folder / "brainspade" / "evaluation.json").write_text(json.dumps({"labels": figure, "notes": [NASTY]}))
    make_report(folder, (), None, quiet(), with_pairs=True)
    found = parsed(folder / "brainspade" / "report.html")
    assert " ".join(found.words).count(NASTY) >= 8
    assert "<img src=x" not in (folder / "brainspade" / "report.html").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"verdict": ["pass"], "labels": 3, "images": {"flagged": {}, "scores": [1]}}',
        '{"verdict": "pass", "labels": {"threshold": "x", "flagged": [1, {"score": true, "picture": "../../x.png"}]}}',
        '{"verdict": "pass", "labels": {"threshold": NaN, "flagged": [{"picture": "run.json"}]}}',
    ],
)
def test_damaged_records_cost_their_part_and_no_more(tmp_path: Path, text: str) -> None:
    folder = synthetic_set(tmp_path / "Dataset501_a")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "x.png")
    for name in ("audit.json", "evaluation.json", "run.json"):
        (folder / "brainspade" / name).write_text(text)
    make_report(folder, (), None, quiet(), with_pairs=True)
    assert len(parsed(folder / "brainspade" / "report.html").addresses) == 3 * 3


def test_pictures_outside_the_dataset_are_not_shown(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "secret.png")
    folder = with_audit(synthetic_set(tmp_path / "Dataset501_a"), picture=str(tmp_path / "secret.png"))
    found = read_audit(folder)
    assert found
    assert found.verdict == "copies"
    assert found.parts[0].flagged[0].picture is None


HUGE = "9" * 400


@pytest.mark.parametrize("value", [HUGE, "1.7e308", "-1.7e308", "NaN", "true", '"x"', "{}", "-3"])
def test_no_number_on_record_ends_a_report(tmp_path: Path, value: str) -> None:
    folder = synthetic_set(tmp_path / "Dataset501_a")
    records = folder / "brainspade"
    figure = f'{{"value": {value}, "low": {value}, "high": 1}}'
    (records / "evaluation.json").write_text(f'{{"pairs": {value}, "labels": {{"a": {figure}}}, "notes": [{value}]}}')
    placed = f'{{"distance": {value}, "limit": {value}}}'
    style = f'{{"name": "n", "channel": "t1", "range": {placed}}}'
    (records / "run.json").write_text(f'{{"pairs": {value}, "settings": {{"seed": {value}}}, "styles": [{style}]}}')
    pair = f'{{"case": "c", "score": {value}, "training": {{"scan": "s", "what": "t1", "slice": {value}}}}}'
    part = f'{{"threshold": {value}, "looked_at": {value}, "scores": {{"people_training": {{"q05": {value}}}}}'
    part += f', "false_alarm_rate": {value}, "flagged": [{pair}]}}'
    (records / "audit.json").write_text(f'{{"verdict": "pass", "pairs": {value}, "labels": {part}}}')
    manifest = records / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    pixels = ", ".join(f'"{name}": {5 if name == "gm" else value}' for name in TABLE)
    mark = {"position_mm": "HERE", "pixels": "THERE"}
    lines = [json.dumps({**row, **mark}).replace('"HERE"', value) for row in rows]
    manifest.write_text("".join(line.replace('"THERE"', f"{{{pixels}}}") + "\n" for line in lines))
    make_report(folder, (), None, quiet(), with_pairs=True)
    assert len(parsed(records / "report.html").addresses) == 3 * 3


def test_patients_are_shown_and_named_on_demand_alone(tmp_path: Path) -> None:
    folder = with_audit(synthetic_set(tmp_path / "Dataset501_a"))
    make_report(folder, (), None, quiet())
    bare = parsed(folder / "brainspade" / "report.html")
    assert len(bare.addresses) == 3 * 3
    assert "Flagged: brainspade_000001 (0.91)." in bare.words
    assert "sub-07" not in " ".join(bare.words)
    make_report(folder, (), None, quiet(), with_pairs=True)
    assert len(parsed(folder / "brainspade" / "report.html").addresses) == 3 * 3 + 2


def test_a_real_audit_is_shown_with_its_pairs_and_scores(tmp_path: Path, folded_folder: Path) -> None:
    copied = label_of(2, 3)
    made = folded_dataset(tmp_path / "Dataset501_a", [new_person(0), (copied, image_of(copied, 1))])
    found = audit(AuditRequest(made, folded_folder), quiet())
    make_report(made, (), None, quiet(), with_pairs=True)
    page = parsed(made / "brainspade" / "report.html")
    words = " ".join(page.words)
    assert len(page.addresses) == 2 * 3 + 2
    assert re.search(r"case_1 repeats sub-02 labels slice 3 \(\d\.\d\d\)", words)
    assert "case_1 t1 repeats sub-02 t1 slice 3" in words
    assert "false alarms among held-out people" in words
    assert f"{found['labels']['scores']['people_training']['q95']:.4g}" in page.words
    assert "is of" not in words


def test_a_report_of_fewer_pairs_is_called_out_of_date(tmp_path: Path) -> None:
    folder = synthetic_set(tmp_path / "Dataset501_a")
    for name in ("audit.json", "evaluation.json"):
        (folder / "brainspade" / name).write_text(json.dumps({"verdict": "pass", "pairs": 2}))
    make_report(folder, (), None, quiet())
    words = parsed(folder / "brainspade" / "report.html").words
    assert "This audit is of 2 pairs, and there are 3 now: repeat it." in words
    assert "This evaluation is of 2 pairs, and there are 3 now: repeat it." in words


def test_a_preview_with_its_styles_outlives_a_report_without_them(tmp_path: Path) -> None:
    folder = synthetic_set(tmp_path / "Dataset501_a")
    picture = folder / "brainspade" / "preview.png"
    picture.write_bytes(b"of sample")
    make_report(folder, (), None, quiet())
    assert picture.read_bytes() == b"of sample"
    make_report(folder, (style_scan(tmp_path / "t1.nii.gz"),), None, quiet())
    assert picture.stat().st_size > 10_000


def test_real_cases_of_an_export_are_neither_shown_nor_counted(tmp_path: Path) -> None:
    made = made_set(tmp_path / "Dataset501_a")
    export(
        [made], tmp_path, 510, "b", task="tumour", real=real_set(tmp_path / "Dataset600_r", slices=2), reporter=quiet()
    )
    summary = make_report(tmp_path / "Dataset510_b", (), tmp_path / "elsewhere" / "r.html", quiet())
    words = " ".join(parsed(tmp_path / "elsewhere" / "r.html").words)
    assert summary["cases"] == 3
    assert "whole_tumour" in words
    assert "sub-01" not in words


def test_slices_with_a_lesion_and_without_are_shown_where_they_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "SHOWN", 8)
    monkeypatch.setattr(reporting, "PREVIEW_ROWS", 4)
    drawn: list[str] = []
    sheet = reporting.preview_sheet

    def drawing(rows: Sequence[PreviewRow], labels: Sequence[Label]) -> Image.Image:
        drawn.extend(row.caption for row in rows)
        return sheet(rows, labels)

    monkeypatch.setattr(reporting, "preview_sheet", drawing)
    folder = synthetic_set(tmp_path / "Dataset501_a", [f"case_{number:02}" for number in range(16)])
    summary = make_report(folder, (), None, quiet())
    for shown, count in ((" ".join(parsed(Path(summary["report"])).words), 8), (" ".join(drawn), 4)):
        numbers = {int(number) for number in re.findall(r"case_(\d+)", shown)}
        assert len(numbers) == count
        assert {number % 2 for number in numbers} == {0, 1}


def test_the_page_does_not_grow_with_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "SHOWN", 2)
    monkeypatch.setattr(reporting, "LOOKED_AT", 4)
    folder = synthetic_set(tmp_path / "Dataset501_a", [f"case_{number}" for number in range(9)])
    summary = make_report(folder, (), None, quiet())
    assert (summary["shown"], summary["looked_at"], summary["cases"]) == (2, 4, 9)
    assert len(parsed(Path(summary["report"])).addresses) == 2 * 3


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        make_report(tmp_path, (), None, quiet())
    with pytest.raises(InputError, match="no style scan"):
        make_report(synthetic_set(tmp_path / "Dataset501_a"), (tmp_path / "t1.nii.gz",), None, quiet())


def test_a_chart_has_a_bar_for_every_bin_and_survives_odd_values() -> None:
    chart = histogram_chart("<b>", np.random.default_rng(0).normal(size=500), "mm")
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', chart)]
    assert len(heights) == 24
    assert max(heights) == pytest.approx(76)
    assert "&lt;b&gt;" in chart
    assert "nothing to count" in histogram_chart("x", [float("nan")], "")
    assert "median 3" in histogram_chart("x", [3.0, 3.0], "")
    assert "nan" not in histogram_chart("x", [1e300, -1e300, 0.0], "")
    assert "1 values" in histogram_chart("x", [1.7e308, -1.7e308, 2.0], "")
    assert common_limits([np.array([1.7e308, -1.7e308, 2.0])]) == (1.5, 2.5)
