"""Places of structures: counted in training slices, kept by a training that starts from weights, put in by a script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainspade_cli import structure_places
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError
from brainspade_cli.presets import preset
from brainspade_cli.slices import open_slice_set
from brainspade_cli.structure_places import DIGITS, STRUCTURES, open_places
from brainspade_cli.training import denoiser
from brainspade_cli.training.batches import label_table
from brainspade_cli.training.denoiser import POSITION_BINS, condition_table, structures_of
from brainspade_cli.training.labels import train_labels
from brainspade_cli.training.run import TrainingRequest
from brainspade_cli.weights import open_bundle
from tests.example_scripts import example_script
from tests.sampling.parts import tiny_bundle


@pytest.fixture(autouse=True)
def _three_people_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slice set has three in training of either kind."""
    monkeypatch.setattr(structure_places, "FEWEST_PEOPLE", 3)


def test_every_slice_of_training_people_counts(slice_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = label_table(open_slice_set(slice_folder), "tumour", 2 / 3)
    counted = condition_table(table).places
    assert counted == structures_of(table)
    places = open_places(counted)
    assert set(places) == set(STRUCTURES)
    heights = np.clip((POSITION_BINS * table.conditions[:, 0]).int().numpy(), 0, POSITION_BINS - 1)
    for row, height in enumerate(heights.tolist()):
        for structure, place in places.items():
            assert place[height][table.label(row) == structure].all()
    assert any(row != "f" * DIGITS for rows in counted.values() for row in rows)
    # Of very many slices some are read, spread evenly.
    monkeypatch.setattr(denoiser, "MOST_PLACED", len(table) // 2)
    read = []
    monkeypatch.setattr(type(table), "label", lambda self, row: read.append(row) or np.zeros((192, 256), np.uint8))
    structures_of(table)
    assert read == list(range(0, len(table), 3))


def test_weights_trained_further_keep_the_places_that_they_knew(slice_folder: Path, tmp_path: Path) -> None:
    quick = replace(preset("tiny"), labels=replace(preset("tiny").labels, denoiser_steps=1, perceptual_weight=0.0))
    start = tiny_bundle(tmp_path / "start")
    learnt = start.config.conditions["healthy"]
    far = f"{1:0{DIGITS}x}"
    known = replace(condition_table(label_table(open_slice_set(slice_folder), "healthy", 2 / 3)), places={})
    for places in ({}, {"brainstem": (far,) * POSITION_BINS}):
        earlier = replace(known, places=places)
        create_or_update_bundle(
            tmp_path / "start", config_updates={"conditions": {"healthy": earlier, "tumour": learnt}}, networks={}
        )
        out = tmp_path / f"out{len(places)}"
        request = TrainingRequest(slice_folder, out, quick, device="cpu", start_from=str(tmp_path / "start"))
        train_labels(request, "healthy", Reporter(quiet=True))
        after = open_bundle(str(out)).config.conditions["healthy"].places
        assert set(after) == set(places)
        for row in after.get("brainstem", ()):
            assert int(row, 16) & 1
    counted = structures_of(label_table(open_slice_set(slice_folder), "healthy", 2 / 3))["brainstem"]
    assert after["brainstem"] == tuple(f"{int(row, 16) | 1:0{DIGITS}x}" for row in counted)


def test_the_script_puts_places_in_and_wants_the_people_of_the_weights(
    slice_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_bundle(tmp_path)
    count = example_script("train_starter/places.py").main
    with pytest.raises(InputError, match="differ in whom they train on"):
        count(slice_folder, tmp_path)
    slices = open_slice_set(slice_folder)
    people = {"train": list(slices.people("train")), "held_out": list(slices.people("held-out"))}
    tables = {name: condition_table(label_table(slices, name, 2 / 3)) for name in ("healthy", "tumour")}
    older = {name: replace(table, places={}) for name, table in tables.items()}
    updates = {"people": people, "conditions": older}
    before = create_or_update_bundle(tmp_path, config_updates=updates, networks={}).config
    count(slice_folder, tmp_path)
    assert capsys.readouterr().out.splitlines() == ["healthy: deep_gm, brainstem", "tumour: deep_gm, brainstem"]
    after = open_bundle(str(tmp_path)).config
    assert after == replace(before, conditions=tables)
