"""Weights that carry codes of their training slices: an audit without the slice set, and bundles without codes."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainspade_cli.auditing import codes as codes_module
from brainspade_cli.auditing.codes import (
    EVERY,
    LEAST_PEOPLE,
    SIGNS,
    code_directions,
    code_signs,
    packed_codes,
    similarity,
)
from brainspade_cli.auditing.descriptors import SIZE
from brainspade_cli.auditing.weights_codes import add_training_codes
from brainspade_cli.bundle_config import TRAINING_CODES
from brainspade_cli.bundle_info import bundle_info
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.weights import open_bundle
from tests.auditing.folded import SLICES, folded_dataset, folded_set, hidden, image_of, label_of, new_person
from tests.sampling.parts import tiny_bundle

NEW = 6


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bundle that was trained on the folded people and carries no codes."""
    folder = tmp_path_factory.mktemp("weights") / "bare"
    tiny_bundle(folder)
    people = {"train": [f"person-{number:02d}" for number in range(10)], "held_out": []}
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
        assert found[part]["training"] == {"people": 10, "slices": 10 * SLICES // EVERY}
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
    assert tensors["labels.codes"].shape == (10 * SLICES // EVERY, SIGNS // 8)
    assert tensors["labels.between"].shape == (10 * SLICES // EVERY,)
    assert (tensors["labels.between"].diff() >= 0).all()


def test_a_bundle_without_codes_is_whole_but_cannot_audit(run, mixed, bare):
    assert bundle_info(open_bundle(str(bare)))["missing"] == []
    code, out, error = run("audit", mixed, "--weights", bare)
    assert (code, out) == (2, "")
    assert "carry no codes" in error
    assert "--against" in error


def test_the_command_puts_in_the_same_codes_again(run, bare, coded, folded_folder, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(bare, folder)
    code, out, _ = run("weights", "codes", folded_folder, "--out", folder, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["codes"] == {"labels": 30, "images": 30}
    assert bundle_info(open_bundle(str(folder)))["training_codes"] is True
    name = f"{TRAINING_CODES}.safetensors"
    assert (folder / name).read_bytes() == (coded / name).read_bytes()


def test_codes_of_other_people_are_refused(run, folded_folder, tmp_path):
    tiny_bundle(tmp_path / "weights")
    code, _, error = run("weights", "codes", folded_folder, "--out", tmp_path / "weights")
    assert code == 2
    assert "name the slice set of the training" in error
    code, _, error = run("weights", "codes", folded_folder, "--out", tmp_path / "absent")
    assert code == 2
    assert "There is no folder" in error


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


WRONG = {"spade_generator.safetensors": "0" * 64}


@pytest.mark.parametrize(
    ("name", "record", "sentence"),
    [
        ("run.json", {"settings": {"weights": {**WRONG, "settings": "x"}}}, "other weights than tiny"),
        ("runs.json", [{"weights": {"sha256": {**WRONG, "config.json": "x"}}}], "other weights than tiny"),
        ("run.json", [], "cannot be read"),
        ("runs.json", [3], "cannot be read"),
    ],
)
def test_a_dataset_of_other_weights_is_refused_before_the_work(run, tmp_path, bare, name, record, sentence):
    made = folded_dataset(tmp_path / "Dataset501_other", [new_person(0)])
    (made / "brainspade" / name).write_text(json.dumps(record))
    # Weights without codes could not even begin.
    code, out, error = run("audit", made, "--weights", bare)
    assert (code, out) == (2, "")
    assert sentence in error


def test_a_record_of_these_weights_is_believed_and_none_is_told(report, tmp_path, coded):
    made = folded_dataset(tmp_path / "Dataset501_new", [new_person(0)])
    assert any("Nothing on record" in note for note in report(made, "--weights", coded)[1]["notes"])
    hashes = {**open_bundle(str(coded)).hashes(), "config.json": "older", f"{TRAINING_CODES}.safetensors": "older"}
    (made / "brainspade" / "runs.json").write_text(json.dumps([{"weights": {"sha256": hashes}}]))
    code, found = report(made, "--weights", coded)
    assert code == 0
    assert not any("Nothing on record" in note for note in found["notes"])


def test_the_order_of_codes_tells_nothing():
    rng = np.random.default_rng(0)
    described = torch.from_numpy(rng.standard_normal((40, SIZE))).float()
    directions = code_directions(described, SIGNS, rng)
    codes = packed_codes(code_signs(described, directions))
    for _ in range(3):
        mixed = described[torch.from_numpy(rng.permutation(len(described)))]
        assert torch.equal(packed_codes(code_signs(mixed, directions)), codes)


def test_codes_in_pieces_agree_as_all_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    moved = torch.from_numpy(rng.standard_normal((3, 4, SIZE))).float()
    directions = torch.from_numpy(rng.standard_normal((SIZE, SIGNS))).float()
    signs = code_signs(torch.from_numpy(rng.standard_normal((50, SIZE))).float(), directions)
    whole = similarity(moved, signs, directions)
    monkeypatch.setattr(codes_module, "_PIECE", 7)
    assert torch.allclose(similarity(moved, signs, directions), whole)


def test_codes_leave_when_people_join_or_a_network_changes(coded, tmp_path):
    joined = tmp_path / "joined"
    shutil.copytree(coded, joined)
    people = {"train": [f"person-{number:02d}" for number in range(11)], "held_out": []}
    assert not create_or_update_bundle(joined, config_updates={"people": people}, networks={}).has(TRAINING_CODES)
    state = open_bundle(str(coded)).network("denoiser_healthy").state_dict()
    state = {name: value + 0.5 if value.is_floating_point() else value for name, value in state.items()}
    changed = tmp_path / "changed"
    shutil.copytree(coded, changed)
    bundle = create_or_update_bundle(changed, config_updates={}, networks={"denoiser_healthy": state})
    assert not bundle.has(TRAINING_CODES)
    assert bundle.has("denoiser_healthy")


def test_codes_of_a_part_of_the_people_are_made_and_told(report, coded, folded_folder, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(coded, folder)
    people = {"train": [f"person-{number:02d}" for number in range(12)], "held_out": []}
    create_or_update_bundle(folder, config_updates={"people": people}, networks={})
    add_training_codes(folder, folded_folder, Reporter(quiet=True))
    _, found = report(folded_dataset(tmp_path / "Dataset501_new", [new_person(0)]), "--weights", folder)
    assert any("Codes of labels of 10 of 12 people" in note for note in found["notes"])


def test_few_people_get_no_codes(run, bare, tmp_path):
    few = folded_set(tmp_path / "few", train=range(LEAST_PEOPLE - 1), held_out=())
    folder = tmp_path / "weights"
    shutil.copytree(bare, folder)
    code, _, error = run("weights", "codes", few, "--out", folder)
    assert code == 2
    assert "10 training people at least" in error
