from __future__ import annotations

import json
import re
from pathlib import Path

import mlcroissant
import pytest
from markdown_it import MarkdownIt

from brainspade_cli.nnunet.export import export
from brainspade_cli.reporting.card import dataset_card
from brainspade_cli.reporting.croissant import croissant
from brainspade_cli.reporting.facts import DatasetFacts, dataset_runs, run_facts
from brainspade_cli.reporting.write_cards import card_paths, write_cards
from tests.nnunet.sets import TABLE, real_set, synthetic_set
from tests.sampling.parts import quiet

RUN = {
    "format": 1,
    "pairs": 3,
    "command": "brainspade sample --style flair=f.nii.gz --n 3 --seed 7",
    "settings": {"seed": 7},
    "weights": {
        "name": "tiny",
        "source": "org/name",
        "revision": "a1b2",
        "sha256": {"config.json": "e" * 64},
        "licence": "Research only.",
        "trained_on": ["oasis"],
    },
    "styles": [{"name": "f.nii.gz"}],
    "made_with": {"brainspade": "0.1.0"},
}


def made_set(folder: Path, **options: object) -> Path:
    synthetic_set(folder, **options)
    (folder / "brainspade" / "run.json").write_text(json.dumps(RUN))
    return folder


def facts(**changes: object) -> DatasetFacts:
    known = {
        "name": "Dataset501_x",
        "file_ending": ".nii.gz",
        "channels": ("t1", "flair"),
        "labels": TABLE,
        "cases": 3,
        "real": 0,
        "lesions": 1,
        "columns": ("case", "files"),
        "pv": False,
        "runs": (run_facts(RUN, "x"),),
    }
    return DatasetFacts(**{**known, **changes})


@pytest.mark.parametrize("merged", [False, True])
def test_an_export_is_described_by_a_croissant_that_holds(tmp_path: Path, merged: bool) -> None:
    made = made_set(tmp_path / "Dataset501_a")
    real = real_set(tmp_path / "Dataset600_real", slices=1) if merged else None
    export([made], tmp_path, 510, "b", real=real, reporter=quiet())
    folder = tmp_path / "Dataset510_b"
    dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert not dataset.metadata.issues.errors
    records = list(dataset.records("cases"))
    assert len(records) == 3 + 2 * merged
    for record in records:
        case = record["cases/case"].decode()
        files = [str(path.decode() if isinstance(path, bytes) else path) for path in record["cases/files"]]
        assert files == [f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"]
        assert all((folder / file).is_file() for file in files)
    for entry in json.loads((folder / "croissant.json").read_text())["distribution"]:
        assert list(folder.glob(entry["includes"]))


def test_cards_of_an_export_tell_of_the_runs_behind_it_also_at_second_hand(tmp_path: Path) -> None:
    export([made_set(tmp_path / "Dataset501_a")], tmp_path, 510, "b", task="tumour", reporter=quiet())
    first = card_paths(tmp_path / "Dataset510_b")[0].read_text()
    assert dataset_runs(tmp_path / "Dataset510_b") == dataset_runs(tmp_path / "Dataset501_a")
    for words in ("synthetic", "Research only.", "- seed: 7", "--n 3 --seed 7", "e" * 64, "revision a1b2", "SASHIMI"):
        assert words in first
    assert "| 1 | whole\\_tumour |" in first
    assert "oasis" in first
    # Whole, so that its address can be followed.
    assert "https://doi.org/10.1162/jocn.2007.19.9.1498" in first
    assert "BRATS" not in first


def test_real_cases_are_counted_and_keep_their_terms(tmp_path: Path) -> None:
    card = dataset_card(facts(cases=5, real=2))
    assert "5 (3 synthetic, 2 real)" in card
    assert "Real cases keep the terms" in card
    assert "Real cases" not in dataset_card(facts())


def test_labels_that_were_handed_over_are_not_said_to_be_drawn(tmp_path: Path) -> None:
    """They may be a patient's."""
    given = run_facts({**RUN, "settings": {"seed": 7, "labels": "f" * 64}}, "x")
    card = dataset_card(facts(runs=(given,)))
    assert "diffusion model" not in card
    assert "do not exist" not in card
    assert "on label maps that were handed over." in card
    assert "Label maps that were handed over keep their own terms." in card
    assert run_facts(given.to_json(), "x") == given
    assert run_facts({**RUN, "command": "brainspade sample --labels own --n 3"}, "x").given_labels
    both = dataset_card(facts(runs=(given, run_facts(RUN, "x"))))
    assert "handed over, or drawn by its diffusion model" in both
    assert "diffusion model" not in dataset_card(facts(runs=()))
    drawn = dataset_card(facts())
    assert "do not exist" in drawn
    assert "handed over" not in drawn


def test_the_same_facts_give_the_same_files(tmp_path: Path) -> None:
    write_cards(tmp_path, facts())
    before = [path.read_bytes() for path in card_paths(tmp_path)]
    write_cards(tmp_path, facts())
    assert [path.read_bytes() for path in card_paths(tmp_path)] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "croissant.json"]


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_every_channel_and_kept_maps_are_described(tmp_path: Path, ending: str) -> None:
    document = croissant(facts(file_ending=ending, pv=True))
    (tmp_path / "croissant.json").write_text(json.dumps(document))
    assert not mlcroissant.Dataset(str(tmp_path / "croissant.json")).metadata.issues.errors
    assert [entry["includes"] for entry in document["distribution"]] == [
        f"imagesTr/*_0000{ending}",
        f"imagesTr/*_0001{ending}",
        f"labelsTr/*{ending}",
        "brainspade/pv/*.nii.gz",
        "brainspade/manifest*.jsonl",
    ]


@pytest.mark.parametrize("run", [{}, {"weights": [], "settings": 3, "styles": "x", "pairs": "many", "command": None}])
def test_records_of_any_shape_make_a_card(run: dict[str, object]) -> None:
    assert "brainspade" in dataset_card(facts(runs=(run_facts(run, "x"),)))
    assert croissant(facts(runs=(run_facts(run, "x"),)))["@type"] == "sc:Dataset"


def test_names_cannot_break_out_of_the_card() -> None:
    hostile = {**RUN, "styles": [{"name": "a`b|c<script>\nd"}], "command": "x\n```\n# mine"}
    card = dataset_card(facts(runs=(run_facts(hostile, "x"),)))
    assert "<script>" not in card
    assert card.count("```") == 2


def test_what_a_record_says_is_no_markdown() -> None:
    image = "![x](https://evil.example/x.png) [a](javascript:b) <b>*c*</b> _d_ # \\![y](z)"
    weights = {**RUN["weights"], "name": image, "licence": image, "trained_on": [image], "source": image}
    card = dataset_card(facts(name=image, runs=(run_facts({**RUN, "weights": weights, "dataset": image}, "x"),)))
    text = card.split("---\n", 2)[2]
    html = MarkdownIt().enable("table").render(text)
    assert html.count("![x](https://evil.example/x.png) [a](javascript:b) &lt;b&gt;*c*&lt;/b&gt; _d_ # \\![y](z)") >= 4
    assert not re.search("<(img|em|b|a|script)[ >]", html)
    # Viewers that make links of bare addresses find the paper's alone.
    assert re.findall("[a-z]+://[a-z.]+", text) == ["https://arxiv.org"]


def test_styles_of_a_bank_are_not_called_scans() -> None:
    banks = dataset_card(facts(runs=(run_facts({**RUN, "styles": [{"name": "@flair"}]}, "x"),)))
    assert "codes that the weights carry" in banks
    assert "styles' scans" not in banks
    assert "styles' scans lent" in dataset_card(facts())


def test_what_old_runs_did_not_record_is_left_out_of_the_croissant() -> None:
    described = croissant(facts(runs=(run_facts({"pairs": 3}, "x"),)))["description"]
    assert described.endswith("3 pairs of x.")
    whole = croissant(facts())["description"]
    assert "3 pairs of x, seed 7, weights tiny (org/name at revision a1b2; SHA-256: config.json eee" in whole
