"""Image training, end to end on tiny networks and synthetic slices."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from brainspade_cli.bundle import read_config
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, SliceSetError
from brainspade_cli.networks.modality_classifier import ModalityClassifier
from brainspade_cli.presets import Preset, preset
from brainspade_cli.slices import create_slice_set, open_slice_set
from brainspade_cli.training import images, painter
from brainspade_cli.training.batches import image_table
from brainspade_cli.training.images import train_images
from brainspade_cli.training.loop import Batch, step_generator
from brainspade_cli.training.machine import open_machine
from brainspade_cli.training.perceptual import FeatureExtractor
from brainspade_cli.training.run import Run, TrainingRequest
from brainspade_cli.weights import open_bundle

TINY = preset("tiny")
QUICK = replace(TINY, images=replace(TINY.images, classifier_steps=1, steps=2, reconstruction_weight=1.0))
BARE = replace(
    TINY,
    images=replace(
        TINY.images,
        steps=2,
        adversarial_weight=0.0,
        perceptual_weight=0.0,
        feature_matching_weight=0.0,
        kl_weight=0.0,
        contrastive_weight=0.0,
        modality_weight=(0.0, 0.0),
        dataset_weight=(0.0, 0.0),
        reconstruction_weight=1.0,
    ),
)


def run(
    slices: Path,
    out: Path,
    settings: Preset = QUICK,
    steps: int | None = None,
    resume: bool = False,
    perceptual: str = "self",
    seed: int = 0,
) -> dict[str, object]:
    request = TrainingRequest(slices, out, settings, steps, resume, seed, "cpu", "fp32")
    return train_images(request, perceptual, Reporter(quiet=True))


def columns(out: Path) -> set[str]:
    with open(out / "training" / "painter" / "losses.csv", newline="") as handle:
        return set(next(csv.reader(handle))) - {"step", "seconds"}


@pytest.fixture(scope="module")
def trained(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("images") / "bundle"
    run(slice_folder, out)
    return out


def test_a_bundle_with_painter_and_styles_comes_out(trained: Path) -> None:
    bundle = open_bundle(str(trained))
    encoder, generator = bundle.network("style_encoder"), bundle.network("spade_generator")
    assert bundle.config.modalities == ("t1", "flair")
    assert bundle.config.datasets == ("lesions", "rings")
    assert bundle.config.perceptual == "self"
    bank = bundle.style_bank("flair")
    assert bank.mean.shape == bank.log_variance.shape
    assert (bank.intensity_mean, bank.intensity_std, bank.background) == (400.0, 100.0, 0.0)
    maps = torch.rand(1, 8, 192, 256, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    assert generator(maps, bank.mean[:1]).shape == (1, 1, 192, 256)
    assert not encoder.training


def test_the_bank_holds_codes_of_training_slices_of_many_people(trained: Path, slice_folder: Path) -> None:
    bundle = open_bundle(str(trained))
    slice_set = open_slice_set(slice_folder)
    table = image_table(slice_set)
    encoder = bundle.network("style_encoder")
    codes = encoder(table.read(torch.arange(len(table))))[0].detach()
    mean = bundle.style_bank("flair").mean
    distances = torch.cdist(mean, codes)
    nearest = distances.argmin(dim=1)
    assert float(distances.min(dim=1).values.max()) < 0.05
    people = {table.records[table.volumes[row]].person for row in nearest.tolist()}
    assert people == {scan.person for scan in slice_set.select(population="tumour")}


def test_all_losses_of_the_paper_are_logged(trained: Path) -> None:
    assert columns(trained) == {
        "adversarial",
        "features",
        "perceptual",
        "kl",
        "contrastive",
        "modality",
        "dataset",
        "l1",
        "discriminator",
    }


def test_a_loss_without_weight_is_not_computed(slice_folder: Path, tmp_path: Path) -> None:
    run(slice_folder, tmp_path, BARE, perceptual="auto")
    assert columns(tmp_path) == {"l1"}
    assert not (tmp_path / "training" / "classifier").exists()
    assert open_bundle(str(tmp_path)).config.perceptual == ""


def test_an_interrupted_training_goes_on_bit_for_bit(
    trained: Path, slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = painter._load

    def stop(*arguments: Any) -> Batch:
        os.kill(os.getpid(), signal.SIGINT)
        return load(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(painter, "_load", stop)
        with pytest.raises(KeyboardInterrupt):
            run(slice_folder, tmp_path)
    run(slice_folder, tmp_path, resume=True)
    assert open_bundle(str(tmp_path)).config.sha256 == open_bundle(str(trained)).config.sha256


def test_resume_extends_the_painter(slice_folder: Path, tmp_path: Path) -> None:
    run(slice_folder, tmp_path, BARE, steps=1, perceptual="auto")
    with pytest.raises(InputError, match="--resume"):
        run(slice_folder, tmp_path, BARE, steps=2, perceptual="auto")
    before = open_bundle(str(tmp_path)).hashes()["spade_generator.safetensors"]
    extended = run(slice_folder, tmp_path, BARE, steps=3, resume=True, perceptual="auto")
    assert extended["stages"] == {"painter": 3}
    assert open_bundle(str(tmp_path)).hashes()["spade_generator.safetensors"] != before


@pytest.mark.parametrize("changed", ["scans", "seed", "perceptual"])
def test_other_data_seed_or_perceptual_network_is_refused_on_resume(
    trained: Path, slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    slices = tmp_path / "slices"
    shutil.copytree(slice_folder, slices)
    if changed == "scans":
        shutil.rmtree(slices / "scans" / "sub-healthy0")
    if changed == "perceptual":
        monkeypatch.setattr(
            images,
            "feature_extractor",
            lambda *arguments: FeatureExtractor("other", [torch.nn.AvgPool2d(2)], [0.0], [1.0]),
        )
    with pytest.raises(InputError, match=rf"other settings \({changed}\)"):
        run(slices, trained, resume=True, seed=int(changed == "seed"))


def test_fewer_steps_than_are_there_lose_nothing_and_are_recorded_as_they_are(
    trained: Path, slice_folder: Path
) -> None:
    before = read_config(trained)
    summary = run(slice_folder, trained, steps=1, resume=True)
    assert summary["stages"]["painter"] == read_config(trained).stages["painter"]["steps"] == 2
    assert read_config(trained).sha256 == before.sha256


@pytest.mark.parametrize("remapped", [(), (0,), (0, 1, 3), (0, 1, 2, 3)])
def test_shares_of_a_batch_add_up_to_the_losses_of_the_whole(
    slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remapped: tuple[int, ...]
) -> None:
    """Of processes, or of pieces; images whose contrast was remapped count for no modality."""
    set_ = open_slice_set(slice_folder)
    here = Run(set_, tmp_path, QUICK, open_machine("cpu", "fp32"), 0, Reporter(quiet=True))
    table = image_table(set_)
    contrast = painter.draw_contrast

    def drawn(count: int, *others: Any) -> dict[str, torch.Tensor]:
        return contrast(count, *others) | {"remapped": torch.tensor([place in remapped for place in range(count)])}

    monkeypatch.setattr(painter, "draw_contrast", drawn)
    plan = painter._draw(here, table, 4, step_generator(0, "test", 0))
    batch = painter._load(plan, table, painter.Augmenter.on(torch.device("cpu")), torch.device("cpu"))
    modules = {"style_encoder": nn.Identity(), "generator": nn.Identity()}
    classifier = ModalityClassifier(QUICK.classifier, len(table.modalities), len(table.datasets)).eval()
    objective = painter._Losses(here, modules, classifier, None, 1)
    whole = objective._classes(batch["target"], batch)
    parts = [{name: value[half] for name, value in batch.items()} for half in (slice(0, 2), slice(2, 4))]
    halves = [objective._classes(part["target"], part) for part in parts]
    for total, one, other in zip(whole, *halves, strict=True):
        torch.testing.assert_close((one + other) / 2, total)


def test_pictures_show_four_rows(trained: Path) -> None:
    (path,) = (trained / "training" / "painter").glob("samples-*.png")
    with Image.open(path) as picture:
        assert picture.size == (192 * painter.SHOWN, 256 * 4)


def test_a_set_without_labels_is_refused(slice_folder: Path, tmp_path: Path) -> None:
    create_slice_set(tmp_path / "empty")
    with pytest.raises(SliceSetError, match="no training image"):
        run(tmp_path / "empty", tmp_path / "out")


def test_zero_steps_are_refused(slice_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1"):
        run(slice_folder, tmp_path, steps=0)


def test_a_pair_shows_two_slices_of_one_volume(slice_folder: Path, tmp_path: Path) -> None:
    """Content map and target fit each other after flips: background lies where the image has none."""
    set_ = open_slice_set(slice_folder)
    here = Run(set_, tmp_path, QUICK, open_machine("cpu", "fp32"), 0, Reporter(quiet=True))
    table = image_table(set_)
    plan = painter._draw(here, table, 8, step_generator(0, "test", 0))
    batch = painter._load(plan, table, painter.Augmenter.on(torch.device("cpu")), torch.device("cpu"))
    outside = batch["target"][:, 0] == -4
    torch.testing.assert_close(outside, batch["maps"][:, 0] > 0.5)
    assert bool(plan["mirror"].any())
    assert not bool(plan["mirror"].all())
    assert all(not torch.equal(target, style) for target, style in zip(batch["target"], batch["style"], strict=True))
