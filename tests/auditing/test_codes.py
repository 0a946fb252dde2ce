"""Weights that carry codes of their training slices: an audit without the slice set, and bundles without codes."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainspade_cli.auditing.codes import EVERY, SIGNS
from brainspade_cli.auditing.weights_codes import add_training_codes
from brainspade_cli.bundle_config import TRAINING_CODES
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.weights import open_bundle, weights_info
from tests.auditing.folded import SLICES, folded_dataset, hidden, image_of, label_of, new_person
from tests.sampling.parts import tiny_bundle

NEW = 6


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bundle that was trained on the folded people and carries no codes."""
    folder = tmp_path_factory.mktemp("weights") / "bare"
    tiny_bundle(folder)
    people = {"train": [f"person-{number:02d}" for number in range(8)], "held_out": []}
    create_or_update_bundle(folder, config_updates={"people": people}, networks={})
    return folder


@pytest.fixture(scope="module")
def coded(bare, folded_folder, tmp_path_factory):
    """The same with codes."""
    folder = tmp_path_factory.mktemp("weights") / "coded"
    shutil.copytree(bare, folder)
    add_training_codes(folder, folded_folder, Reporter(quiet=True))
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """New people, then copies of slices that have a code."""
    labels = [label_of(person, number) for person, number in ((2, 2), (3, 0), (5, 4))]
    copies = [hidden(label, image_of(label, seed), seed=seed) for seed, label in enumerate(labels)]
    pairs = [*(new_person(number) for number in range(NEW)), *copies]
    return folded_dataset(tmp_path_factory.mktemp("mixed") / "Dataset501_mixed", pairs)


def test_codes_find_copies_without_the_slice_set(report, mixed, coded):
    code, found = report(mixed, "--weights", coded)
    assert (code, found["verdict"]) == (3, "copies")
    assert found["against"] == {"name": "tiny", "what": "weights"}
    for part in ("labels", "images"):
        assert {flag["case"] for flag in found[part]["flagged"]} == {f"case_{NEW + number}" for number in range(3)}
        assert found[part]["training"] == {"people": 8, "slices": 8 * SLICES // EVERY}
        assert found[part]["held_out"] is None
        assert found[part]["false_alarms"] == {"alarms": 0, "slices": 3 * SLICES, "of": "held-out people"}
        for flag in found[part]["flagged"]:
            assert flag["training"] is flag["picture"] is flag["held_out"] is None
    assert not (mixed / "brainspade" / "audit").exists()


def test_new_people_pass_the_codes(report, tmp_path, coded):
    made = folded_dataset(tmp_path / "Dataset501_new", [new_person(number) for number in range(NEW)])
    assert report(made, "--weights", coded)[0] == 0


def test_codes_hold_signs_alone(coded):
    tensors = load_file(coded / f"{TRAINING_CODES}.safetensors")
    assert {key.partition(".")[2] for key in tensors} == {"codes", "directions", "between", "newcomers", "people"}
    assert tensors["labels.codes"].shape == (8 * SLICES // EVERY, SIGNS // 8)
    assert tensors["labels.between"].shape == (8 * SLICES // EVERY,)
    assert (tensors["labels.between"].diff() >= 0).all()


def test_a_bundle_without_codes_is_whole_but_cannot_audit(run, mixed, bare):
    assert weights_info(open_bundle(str(bare)))["missing"] == []
    code, out, error = run("audit", mixed, "--weights", bare)
    assert (code, out) == (2, "")
    assert "carry no codes" in error
    assert "--against" in error


def test_the_command_puts_in_the_same_codes_again(run, bare, coded, folded_folder, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(bare, folder)
    code, out, _ = run("weights", "codes", folded_folder, "--out", folder, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["codes"] == {"labels": 24, "images": 24}
    assert weights_info(open_bundle(str(folder)))["training_codes"] is True
    name = f"{TRAINING_CODES}.safetensors"
    assert (folder / name).read_bytes() == (coded / name).read_bytes()


def test_codes_of_other_people_are_refused(run, folded_folder, tmp_path):
    tiny_bundle(tmp_path / "weights")
    code, _, error = run("weights", "codes", folded_folder, "--out", tmp_path / "weights")
    assert code == 2
    assert "name the slice set of the training" in error


def test_codes_leave_with_the_networks_that_they_belong_to(coded, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(coded, folder)
    state = open_bundle(str(folder)).network("label_autoencoder").state_dict()
    state = {name: value + 0.5 if value.is_floating_point() else value for name, value in state.items()}
    bundle = create_or_update_bundle(folder, config_updates={}, networks={"label_autoencoder": state})
    assert not bundle.has(TRAINING_CODES)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("labels.directions"),
        lambda tensors: tensors.update({"labels.codes": tensors["labels.codes"][:, :3].contiguous()}),
        lambda tensors: tensors.update({"labels.between": torch.zeros(0)}),
        lambda tensors: tensors.update({"labels.people": torch.tensor([0, -5])}),
        lambda tensors: tensors.clear(),
    ],
)
def test_damaged_codes_are_refused(run, mixed, coded, tmp_path, change):
    folder = tmp_path / "weights"
    shutil.copytree(coded, folder)
    tensors = load_file(folder / f"{TRAINING_CODES}.safetensors")
    change(tensors)
    create_or_update_bundle(folder, config_updates={}, networks={TRAINING_CODES: tensors})
    code, out, error = run("audit", mixed, "--weights", folder)
    assert (code, out) == (2, "")
    assert error.count("\n") == 1


def test_a_dataset_of_other_weights_is_told(report, tmp_path, coded):
    settings = {"weights": {"spade_generator.safetensors": "0" * 64, "settings": "x"}}
    made = folded_dataset(
        tmp_path / "Dataset501_other", [new_person(0)], run={"format": 1, "pairs": 1, "settings": settings}
    )
    _, found = report(made, "--weights", coded)
    assert any("other weights than tiny" in note for note in found["notes"])
    assert np.isfinite(found["labels"]["threshold"])
