"""Trainings that start from the networks of other weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, SliceSetError, WeightsError
from brainspade_cli.presets import Preset, preset
from brainspade_cli.training import atlas
from brainspade_cli.training.images import train_images
from brainspade_cli.training.labels import train_labels
from brainspade_cli.training.run import TrainingRequest
from brainspade_cli.weights import open_bundle
from tests.example_scripts import example_script

TINY = preset("tiny")
QUICK = replace(
    TINY,
    labels=replace(TINY.labels, autoencoder_steps=1, denoiser_steps=1, perceptual_weight=0.0, adversarial_weight=0.0),
    images=replace(TINY.images, classifier_steps=1, steps=1, perceptual_weight=0.0),
)
# Steps of no length: what comes out is what went in.
STILL = replace(
    QUICK,
    labels=replace(QUICK.labels, denoiser_rate=0.0),
    images=replace(QUICK.images, generator_rate=0.0),
)


def run(kind: str, slices: Path, out: Path, settings: Preset = QUICK, **options: Any) -> None:
    request = TrainingRequest(slices, out, settings, device="cpu", precision="fp32", **options)
    if kind == "labels":
        train_labels(request, "healthy", Reporter(quiet=True))
    else:
        train_images(request, "self", Reporter(quiet=True))


@pytest.fixture(scope="module")
def first(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("start") / "first"
    run("labels", slice_folder, out)
    run("images", slice_folder, out)
    return out


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("labels", ("label_autoencoder", "denoiser_healthy")),
        ("images", ("style_encoder", "spade_generator")),
    ],
)
def test_networks_start_as_they_are_in_the_weights(
    kind: str, parts: tuple[str, ...], first: Path, slice_folder: Path, tmp_path: Path
) -> None:
    run(kind, slice_folder, tmp_path / "second", STILL, start_from=str(first), seed=7)
    for part in parts:
        before, after = (open_bundle(str(folder)).network(part) for folder in (first, tmp_path / "second"))
        for key, value in after.named_parameters():
            torch.testing.assert_close(value, before.get_parameter(key), atol=2e-3, rtol=2e-3)


def test_denoisers_are_trained_further_on_the_same_latents(first: Path, slice_folder: Path, tmp_path: Path) -> None:
    run("labels", slice_folder, tmp_path / "second", start_from=str(first))
    before, after = open_bundle(str(first)), open_bundle(str(tmp_path / "second"))
    assert after.config.latent == before.config.latent
    name = "label_autoencoder.safetensors"
    assert after.config.sha256[name] == before.config.sha256[name]
    changed = "denoiser_healthy.safetensors"
    assert after.config.sha256[changed] != before.config.sha256[changed]


def test_how_the_autoencoder_came_about_is_told_as_the_weights_tell_it(
    first: Path, slice_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(first, tmp_path / "older")
    shutil.rmtree(tmp_path / "older" / "training")
    path = tmp_path / "older" / "config.json"
    config = json.loads(path.read_text())
    told = {
        "autoencoder": {"steps": 27, "perceptual": "somebody's"},
        "decoder": {"steps": 5},
        "sharpened": {"power": 2.0},
    }
    config["stages"] |= told
    path.write_text(json.dumps(config))
    loud = replace(QUICK, labels=replace(QUICK.labels, perceptual_weight=1.0))
    run("labels", slice_folder, tmp_path / "second", loud, start_from=str(tmp_path / "older"))
    stages = open_bundle(str(tmp_path / "second")).config.stages
    assert stages == {**told, "denoiser-healthy": {"steps": 1}}


def test_an_atlas_stays_where_the_new_people_are_too_few(
    slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = replace(STILL, denoiser=replace(STILL.denoiser, atlas=True))
    monkeypatch.setattr(atlas, "FEWEST_PEOPLE", 3)
    run("labels", slice_folder, tmp_path / "first", shown)
    monkeypatch.setattr(atlas, "FEWEST_PEOPLE", 30)
    run("labels", slice_folder, tmp_path / "second", shown, start_from=str(tmp_path / "first"))
    before, after = (
        open_bundle(str(tmp_path / name)).network("denoiser_healthy").get_buffer("atlas")
        for name in ("first", "second")
    )
    assert float(before.abs().max()) > 0
    assert torch.equal(before, after)


def test_people_of_the_weights_are_recorded(first: Path, slice_folder: Path, tmp_path: Path) -> None:
    older = _with_people(first, tmp_path / "older", train=["rings/somebody"], held_out=["rings/nobody"])
    run("images", slice_folder, tmp_path / "second", start_from=str(older))
    people = open_bundle(str(tmp_path / "second")).config.people
    assert "rings/somebody" in people.train
    assert "rings/nobody" in people.held_out
    assert set(people.train) > set(open_bundle(str(first)).config.people.train)


@pytest.mark.parametrize("kind", ["labels", "images"])
def test_nobody_whom_the_weights_saw_may_be_held_out_now(
    kind: str, first: Path, slice_folder: Path, tmp_path: Path
) -> None:
    older = _with_people(first, tmp_path / "older", train=["sub-healthy3"])
    with pytest.raises(SliceSetError, match="sub-healthy3"):
        run(kind, slice_folder, tmp_path / "second", start_from=str(older))


def test_nobody_is_trained_on_in_one_bundle_and_held_out_in_the_other(
    first: Path, slice_folder: Path, tmp_path: Path
) -> None:
    """Found before hours of training, though the slice set has nobody of that name."""
    older = _with_people(first, tmp_path / "older", train=["rings/somebody"])
    out = _with_people(first, tmp_path / "out", train=[], held_out=["rings/somebody"])
    with pytest.raises(SliceSetError, match="rings/somebody would be in training and held out"):
        run("images", slice_folder, out, start_from=str(older))


def test_others_of_the_same_plain_name_are_in_nobodys_way(first: Path, slice_folder: Path, tmp_path: Path) -> None:
    """A dataset prepared alone has plain names, and the weights may know others of these, of other datasets."""
    older = _with_people(first, tmp_path / "older", train=["else/sub-healthy3"], held_out=["else/sub-healthy0"])
    for kind in ("labels", "images"):
        run(kind, slice_folder, tmp_path / "second", start_from=str(older))


@pytest.mark.parametrize("kind", ["labels", "images"])
def test_sizes_and_schedule_are_those_of_the_weights(
    kind: str, first: Path, slice_folder: Path, tmp_path: Path
) -> None:
    other = replace(
        QUICK,
        denoiser=replace(QUICK.denoiser, channels=(24, 24)),
        schedule=replace(QUICK.schedule, prediction="velocity"),
        generator=replace(QUICK.generator, hidden=(8, 8, 8, 8)),
    )
    run(kind, slice_folder, tmp_path / "second", other, start_from=str(first))
    assert open_bundle(str(tmp_path / "second")).config.networks == open_bundle(str(first)).config.networks


def test_weights_without_what_is_to_start_from_are_refused(first: Path, slice_folder: Path, tmp_path: Path) -> None:
    run("images", slice_folder, tmp_path / "painter")
    with pytest.raises(WeightsError, match="label_autoencoder"):
        run("labels", slice_folder, tmp_path / "second", start_from=str(tmp_path / "painter"))
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("kind", ["labels", "images"])
def test_a_training_of_its_own_does_not_go_on_from_others(
    kind: str, first: Path, slice_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(first, tmp_path / "own")
    before = open_bundle(str(tmp_path / "own")).config
    with pytest.raises(InputError, match="start"):
        run(kind, slice_folder, tmp_path / "own", steps=2, resume=True, start_from=str(first))
    assert open_bundle(str(tmp_path / "own")).config == before


def test_a_resumed_training_is_held_to_its_start(first: Path, slice_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "second"
    run("labels", slice_folder, out, start_from=str(first))
    with pytest.raises(InputError, match="start"):
        run("labels", slice_folder, out, resume=True, steps=2)
    run("labels", slice_folder, out, resume=True, steps=2, start_from=str(first))
    assert open_bundle(str(out)).config.stages["denoiser-healthy"]["steps"] == 2


def test_the_painter_of_given_weights_is_trained_and_nothing_else(
    first: Path, slice_folder: Path, tmp_path: Path
) -> None:
    script, before = example_script("train_starter/painter.py"), open_bundle(first)
    for _ in range(2):
        # The second time it is finished, and comes out the same.
        script.main(slice_folder, first, tmp_path, QUICK, device="cpu")
        after = open_bundle(tmp_path)
        assert after.config.stages == {**before.config.stages, "painter": {"steps": 2}}
        assert after.config.people == before.config.people
        old, new = before.config.sha256, after.config.sha256
        changed = {name.removesuffix(".safetensors") for name in old if new[name] != old[name]}
        assert set(new) == set(old)
        assert changed == {"style_encoder", "spade_generator", "style_bank"}


def test_the_painter_that_comes_out_is_the_average_and_so_is_its_bank(
    first: Path, slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = example_script("train_starter/painter.py")
    begun, settings = open_bundle(first), replace(QUICK, images=replace(QUICK.images, generator_rate=0.05))
    names = ("style_encoder", "spade_generator")
    averages, banks = {}, {}
    for share in (0.0, 0.25, 1.0):
        # Trained once: the others find it finished.
        monkeypatch.setattr(script, "SHARE", share)
        script.main(slice_folder, first, tmp_path, settings, "cpu")
        out = open_bundle(tmp_path)
        averages[share] = {name: out.network(name) for name in names}
        banks[share] = out.tensors("style_bank")["t1.mean"]
    ended = open_bundle(tmp_path / "painter")
    for name in names:
        weights = {share: dict(networks[name].named_parameters()) for share, networks in averages.items()}
        for key, before in begun.network(name).named_parameters():
            after = ended.network(name).get_parameter(key)
            torch.testing.assert_close(weights[0.0][key], before)
            torch.testing.assert_close(weights[1.0][key], after)
            torch.testing.assert_close(weights[0.25][key], torch.lerp(before, after, 0.25), atol=1e-3, rtol=1e-2)
    whole = (banks[1.0] - banks[0.0]).norm()
    for share, network in ((0.0, begun), (1.0, ended)):
        assert (banks[share] - network.tensors("style_bank")["t1.mean"]).norm() < 0.1 * whole
    assert 0.05 * whole < (banks[0.25] - banks[0.0]).norm() < 0.6 * whole
    for module in averages[0.25]["style_encoder"].modules():
        if is_parametrized(module, "weight"):
            norm = torch.linalg.matrix_norm(module.weight.flatten(1), 2)
            torch.testing.assert_close(norm, torch.tensor(1.0), atol=0.01, rtol=0)


def _with_people(bundle: Path, copy: Path, train: list[str], held_out: list[str] | None = None) -> Path:
    """Copy a bundle, with more people in its records."""
    shutil.copytree(bundle, copy)
    config = json.loads((copy / "config.json").read_text())
    config["people"]["train"] += train
    config["people"]["held_out"] = [
        *(name for name in config["people"]["held_out"] if name not in train),
        *(held_out or []),
    ]
    (copy / "config.json").write_text(json.dumps(config))
    return copy
