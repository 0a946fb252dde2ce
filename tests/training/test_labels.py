"""Label training, end to end on tiny networks and synthetic slices."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from brainspade_cli.anatomy import LESIONS
from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import Solver
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, SliceSetError, TrainingError
from brainspade_cli.files import write_json
from brainspade_cli.lesion_sides import across
from brainspade_cli.presets import Preset, preset
from brainspade_cli.slices import ScanRecord, open_slice_set
from brainspade_cli.training import atlas, labels, map_batches
from brainspade_cli.training.batches import LabelTable, label_table
from brainspade_cli.training.checkpoints import newest_checkpoint
from brainspade_cli.training.deform import warp_maps
from brainspade_cli.training.denoiser import LOAD_BINS, POSITION_BINS, condition_table
from brainspade_cli.training.images import train_images
from brainspade_cli.training.labels import train_labels
from brainspade_cli.training.machine import Machine
from brainspade_cli.training.perceptual import FeatureExtractor
from brainspade_cli.training.run import TrainingRequest
from brainspade_cli.weights import open_bundle

QUICK = replace(
    preset("tiny"),
    # No perceptual loss: loading its network takes longer than all the steps.
    labels=replace(preset("tiny").labels, autoencoder_steps=2, denoiser_steps=2, perceptual_weight=0.0),
)


def run(
    slices: Path,
    out: Path,
    settings: Preset = QUICK,
    population: str = "both",
    steps: int | None = None,
    resume: bool = False,
    seed: int = 0,
) -> dict[str, object]:
    request = TrainingRequest(slices, out, settings, steps, resume, seed, "cpu", "fp32")
    return train_labels(request, population, Reporter(quiet=True))


@pytest.fixture(scope="module")
def trained(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labels") / "bundle"
    run(slice_folder, out)
    return out


def test_a_bundle_with_both_denoisers_comes_out(trained: Path, slice_folder: Path) -> None:
    bundle = open_bundle(str(trained))
    for name in ("label_autoencoder", "denoiser_healthy", "denoiser_tumour"):
        bundle.network(name)
    assert set(bundle.config.stages) == {"autoencoder", "denoiser-healthy", "denoiser-tumour"}
    slice_set = open_slice_set(slice_folder)
    assert bundle.config.people.train == slice_set.people("train")
    assert bundle.config.people.held_out == slice_set.people("held-out")
    assert bundle.config.preset == "tiny"
    assert bundle.latent().std


def test_latents_are_standardised_by_the_bundles_statistics(trained: Path) -> None:
    statistics = open_bundle(str(trained)).latent()
    stores = [np.load(trained / "training" / "latents" / name / "mean.npy") for name in ("healthy", "tumour")]
    plain = np.concatenate([store[:, 0] for store in stores]).astype(np.float64)
    assert stores[0].shape[1:] == (1 + QUICK.labels.latent_copies, 3, 48, 64)
    np.testing.assert_allclose(plain.mean(axis=(0, 2, 3)), statistics.mean, atol=0.3)
    assert not np.array_equal(stores[0][:, 0], stores[0][:, 1])


def test_the_tumour_denoiser_starts_from_the_healthy_one(slice_folder: Path, tmp_path: Path) -> None:
    """With a learning rate of nothing, what comes out is what it started from."""
    still = replace(QUICK, labels=replace(QUICK.labels, denoiser_rate=0.0))
    run(slice_folder, tmp_path / "from", still, steps=1)
    fresh = replace(still, labels=replace(still.labels, tumour_from_healthy=False))
    run(slice_folder, tmp_path / "fresh", fresh, steps=1)
    for folder, same in (("from", True), ("fresh", False)):
        bundle = open_bundle(str(tmp_path / folder))
        healthy, tumour = (bundle.network(f"denoiser_{name}").state_dict() for name in ("healthy", "tumour"))
        assert all(torch.equal(healthy[key], tumour[key]) for key in healthy) is same


def test_an_interrupted_training_goes_on_bit_for_bit(
    trained: Path, slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return warp_maps(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(map_batches, "warp_maps", stop)
        with pytest.raises(SystemExit):
            run(slice_folder, tmp_path / "stopped")
    run(slice_folder, tmp_path / "stopped", resume=True)
    whole, again = (open_bundle(str(folder)).config for folder in (trained, tmp_path / "stopped"))
    assert again.sha256 == whole.sha256


def test_a_finished_training_is_given_the_samplers_that_it_lacks_and_no_others(
    slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (0.5, 0.5)
    fitted = {"healthy": Solver((9,), (row,)), "tumour": Solver((8,), (row,))}
    monkeypatch.setattr(labels, "denoiser_solver", lambda _, population, **how: fitted[population])
    run(slice_folder, tmp_path)
    config = open_bundle(str(tmp_path)).config
    assert config.solvers == fitted, "each denoiser has its own"
    own = Solver((7,), (row,))
    write_json(tmp_path / "config.json", replace(config, solvers={"healthy": own}).to_json())
    run(slice_folder, tmp_path, resume=True)
    assert open_bundle(str(tmp_path)).config.solvers == {"healthy": own, "tumour": fitted["tumour"]}


def test_a_sampler_follows_from_the_seed_and_the_preset_and_may_be_none(
    slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def none_is_better(bundle: Bundle, population: str, **how: object) -> None:
        asked.append((population, how["count"], how["seed"], str(how["device"])))

    monkeypatch.setattr(labels, "denoiser_solver", none_is_better)
    run(slice_folder, tmp_path, replace(QUICK, labels=replace(QUICK.labels, solver_labels=3)), seed=5)
    assert asked == [("healthy", 3, 5, "cpu"), ("tumour", 3, 5, "cpu")]
    assert open_bundle(str(tmp_path)).config.solvers == {}


def test_a_second_training_into_the_same_folder_is_refused(trained: Path, slice_folder: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        run(slice_folder, trained)


def test_resume_skips_what_is_finished_and_extends_denoisers(slice_folder: Path, tmp_path: Path) -> None:
    flat = replace(QUICK, labels=replace(QUICK.labels, denoiser_rate=0.0, denoiser_steps=1))
    run(slice_folder, tmp_path, flat, "healthy")
    before = (tmp_path / "label_autoencoder.safetensors").read_bytes()
    result = run(slice_folder, tmp_path, flat, "healthy", steps=3, resume=True)
    assert result["stages"] == {"autoencoder": 2, "denoiser-healthy": 3}
    found = newest_checkpoint(tmp_path / "training" / "denoiser-healthy")
    assert found is not None
    assert found[1]["step"] == 3
    assert (tmp_path / "label_autoencoder.safetensors").read_bytes() == before
    assert not open_bundle(str(tmp_path)).has("denoiser_tumour")
    run(slice_folder, tmp_path, flat, "tumour", resume=True)
    assert open_bundle(str(tmp_path)).has("denoiser_healthy")
    assert open_bundle(str(tmp_path)).has("denoiser_tumour")


def test_finished_weights_without_checkpoints_are_not_overwritten(
    trained: Path, slice_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "copy", ignore=shutil.ignore_patterns("training"))
    for resume in (False, True):
        with pytest.raises(InputError, match="without the checkpoints"):
            run(slice_folder, tmp_path / "copy", resume=resume)


@pytest.mark.parametrize("direction", ["held out before", "trained on before"])
@pytest.mark.parametrize("called", ["{}", "rings/{}"])
def test_a_person_is_never_on_both_sides(
    trained: Path, slice_folder: Path, tmp_path: Path, direction: str, called: str
) -> None:
    shutil.copytree(trained, tmp_path / "bundle")
    path = tmp_path / "bundle" / "config.json"
    config = json.loads(path.read_text())
    roles = ("train", "held_out") if direction == "held out before" else ("held_out", "train")
    name = config["people"][roles[0]].pop(0)
    config["people"][roles[1]].append(called.format(name))
    path.write_text(json.dumps(config))
    with pytest.raises(SliceSetError, match=name):
        run(slice_folder, tmp_path / "bundle", resume=True)


def test_a_denoiser_is_not_gone_on_with_beside_another_autoencoder(
    trained: Path, slice_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "config.json").read_bytes()
    longer = replace(QUICK, labels=replace(QUICK.labels, autoencoder_steps=3))
    with pytest.raises(InputError, match="knows the latents of an autoencoder"):
        run(slice_folder, tmp_path / "bundle", longer, resume=True)
    assert (tmp_path / "bundle" / "config.json").read_bytes() == before
    # Another one in its place, as after damage to both of its checkpoints.
    shutil.rmtree(tmp_path / "bundle" / "training" / "autoencoder")
    run(slice_folder, tmp_path / "other", seed=1)
    shutil.copytree(tmp_path / "other" / "training" / "autoencoder", tmp_path / "bundle" / "training" / "autoencoder")
    with pytest.raises(InputError, match=r"other settings \(autoencoder\)"):
        run(slice_folder, tmp_path / "bundle", resume=True)


def test_batches_that_processes_cannot_share_are_refused_before_anything_is_trained(
    slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = replace(QUICK, images=replace(QUICK.images, classifier_batch=6, batch=4))
    monkeypatch.setattr(Machine, "processes", 3)
    with pytest.raises(InputError, match="A batch of 4 cannot be split evenly between 3 processes"):
        train_images(TrainingRequest(slice_folder, tmp_path, images, device="cpu"), "self", Reporter(quiet=True))
    with pytest.raises(InputError, match="cannot be split evenly between 3 processes"):
        run(slice_folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_person_is_known_by_a_plain_name_too(trained: Path, slice_folder: Path, tmp_path: Path) -> None:
    """Prepared alone, a dataset's people have plain names; beside others, the dataset's name before theirs."""
    shutil.copytree(trained, tmp_path / "bundle")
    shutil.copytree(slice_folder, tmp_path / "slices")
    for path in (tmp_path / "slices" / "scans").glob("*/scan.json"):
        record = json.loads(path.read_text())
        record |= {"person": f"{record['dataset']}/{record['person']}", "split": "train"}
        path.write_text(json.dumps(record))
    with pytest.raises(SliceSetError, match="would train on sub-healthy3, sub-tumour7, held out of"):
        run(tmp_path / "slices", tmp_path / "bundle", resume=True)


def test_a_set_with_somebody_on_both_sides_is_refused(slice_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(slice_folder, tmp_path / "slices")
    path = tmp_path / "slices" / "scans" / "sub-healthy0" / "scan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"person": "sub-healthy3"}))
    with pytest.raises(SliceSetError, match="sub-healthy3 in training and held out"):
        run(tmp_path / "slices", tmp_path / "bundle")


def test_other_network_sizes_are_refused_on_resume(trained: Path, slice_folder: Path) -> None:
    other = replace(QUICK, autoencoder=replace(QUICK.autoencoder, channels=(8, 8, 16)))
    with pytest.raises(InputError, match="autoencoder"):
        run(slice_folder, trained, other, resume=True)


def test_other_copies_of_slices_are_refused_on_resume(trained: Path, slice_folder: Path) -> None:
    """They would be made anew, and the training would go on from what it learnt of others."""
    index = trained / "training" / "latents" / "healthy" / "index.json"
    before = index.read_bytes()
    more = replace(QUICK, labels=replace(QUICK.labels, latent_copies=2))
    with pytest.raises(InputError, match=r"other settings \(copies\)"):
        run(slice_folder, trained, more, resume=True)
    assert index.read_bytes() == before


@pytest.mark.parametrize("name", ["mean.npy", "conditions.npy"])
def test_latents_that_are_damaged_are_named(slice_folder: Path, tmp_path: Path, name: str) -> None:
    run(slice_folder, tmp_path, population="healthy")
    (tmp_path / "training" / "latents" / "healthy" / name).write_bytes(b"")
    with pytest.raises(TrainingError, match=r"latents/healthy is damaged; delete it"):
        run(slice_folder, tmp_path, population="healthy", steps=3, resume=True)


def test_another_seed_is_refused_on_resume(trained: Path, slice_folder: Path) -> None:
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        run(slice_folder, trained, resume=True, seed=1)


def test_a_grown_set_keeps_autoencoder_and_statistics_and_serves_another_population(
    slice_folder: Path, tmp_path: Path
) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    shutil.copytree(slice_folder, slices, ignore=shutil.ignore_patterns("sub-tumour*"))
    run(slices, out, population="healthy")
    before = open_bundle(str(out))
    for scan in (slice_folder / "scans").glob("sub-tumour*"):
        shutil.copytree(scan, slices / "scans" / scan.name)
    run(slices, out, population="tumour", resume=True)
    after = open_bundle(str(out))
    assert after.latent() == before.latent()
    for file in ("label_autoencoder.safetensors", "denoiser_healthy.safetensors"):
        assert after.config.sha256[file] == before.config.sha256[file]
    assert after.has("denoiser_tumour")


@pytest.mark.parametrize("unfinished", [False, True])
def test_other_scans_are_refused_on_resume(slice_folder: Path, tmp_path: Path, unfinished: bool) -> None:
    """A denoiser is bound to its scans even where finished; an autoencoder while it has steps to go."""
    slices, out = tmp_path / "slices", tmp_path / "out"
    shutil.copytree(slice_folder, slices)
    run(slices, out, population="healthy")
    latents = (out / "training" / "latents" / "healthy" / "index.json").read_bytes()
    shutil.rmtree(slices / "scans" / "sub-healthy0")
    longer = replace(QUICK, labels=replace(QUICK.labels, autoencoder_steps=3)) if unfinished else QUICK
    with pytest.raises(InputError, match=r"other settings \(scans\).*slice set") as refusal:
        run(slices, out, longer, "tumour" if unfinished else "healthy", resume=True)
    assert ("autoencoder" if unfinished else "denoiser-healthy") in str(refusal.value)
    assert (out / "training" / "latents" / "healthy" / "index.json").read_bytes() == latents


def test_the_perceptual_network_of_the_autoencoder_is_recorded_and_bound(
    slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "first"

    def features(choice: str) -> FeatureExtractor:
        return FeatureExtractor(name, [nn.AvgPool2d(2)], [0.0], [1.0])

    monkeypatch.setattr(labels, "feature_extractor", features)
    heard = replace(QUICK, labels=replace(QUICK.labels, perceptual_weight=0.1))
    run(slice_folder, tmp_path, heard, "healthy")
    assert open_bundle(str(tmp_path)).config.stages["autoencoder"] == {"steps": 2, "perceptual": "first"}
    name = "second"
    run(slice_folder, tmp_path, heard, "healthy", resume=True)
    assert open_bundle(str(tmp_path)).config.stages["autoencoder"] == {"steps": 2, "perceptual": "first"}
    longer = replace(heard, labels=replace(heard.labels, autoencoder_steps=3))
    # As after a kill before there was a denoiser.
    shutil.rmtree(tmp_path / "training" / "denoiser-healthy")
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"other settings \(perceptual\)"):
        run(slice_folder, tmp_path, longer, "healthy", resume=True)


@pytest.mark.parametrize(("weight", "other"), [(0.0, 1.0), (1.0, 0.0)])
def test_cross_entropy_has_a_weight_of_its_own(slice_folder: Path, tmp_path: Path, weight: float, other: float) -> None:
    settings = replace(QUICK.labels, cross_entropy_weight=weight, reconstruction_weight=other)
    run(slice_folder, tmp_path, replace(QUICK, labels=settings), "healthy")
    header = (tmp_path / "training" / "autoencoder" / "losses.csv").read_text().splitlines()[0].split(",")
    assert ("cross_entropy" in header) is (weight > 0)
    assert ("l1" in header) is (other > 0)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_averaged_latents_count_where_they_have_a_weight(slice_folder: Path, tmp_path: Path, weight: float) -> None:
    settings = replace(QUICK.labels, pooled_weight=weight)
    run(slice_folder, tmp_path, replace(QUICK, labels=settings), "healthy")
    header = (tmp_path / "training" / "autoencoder" / "losses.csv").read_text().splitlines()[0].split(",")
    assert ("pooled" in header) is (weight > 0)


def test_the_bundle_carries_each_denoisers_own_atlas(
    slice_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atlas, "FEWEST_PEOPLE", 3)
    shown = replace(QUICK, denoiser=replace(QUICK.denoiser, atlas=True))
    run(slice_folder, tmp_path, shown, "both")
    bundle = open_bundle(str(tmp_path))
    atlases = [bundle.network(f"denoiser_{name}").get_buffer("atlas") for name in ("healthy", "tumour")]
    assert all(float(atlas.abs().max()) > 0 for atlas in atlases)
    assert not torch.equal(*atlases)


@pytest.mark.parametrize(("population", "steps"), [("elderly", None), ("both", 0)])
def test_bad_arguments_are_refused(slice_folder: Path, tmp_path: Path, population: str, steps: int | None) -> None:
    with pytest.raises(InputError):
        run(slice_folder, tmp_path / "none", population=population, steps=steps)
    assert not (tmp_path / "none").exists()


def test_condition_table_counts_the_draws(slice_folder: Path) -> None:
    table = label_table(open_slice_set(slice_folder), "tumour", 2 / 3)
    histogram = condition_table(table)
    counts = np.array(histogram.counts)
    assert counts.shape == (POSITION_BINS, len(histogram.load_edges))
    assert len(histogram.load_edges) <= LOAD_BINS + 1
    assert counts.sum() == pytest.approx(len(table))
    assert counts[:, 0].sum() / counts.sum() == pytest.approx(1 / 3)
    loads = table.conditions[table.conditions[:, 1] > 0, 2]
    assert histogram.load_edges[0] == pytest.approx(float(loads.min()))
    assert histogram.load_edges[-1] == pytest.approx(float(loads.max()))
    assert (counts[:, 1:].sum(axis=0) > 0).all()


def test_condition_table_counts_lesions_on_both_sides(slice_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = label_table(open_slice_set(slice_folder), "tumour", 2 / 3)
    ill = [row for row in range(len(table)) if table.conditions[row, 1] > 0]
    assert all((table.label(row) == table.maps(torch.tensor([row]))[0].argmax(dim=0).numpy()).all() for row in ill)
    assert condition_table(table).lesions_across == 0
    mirrored = [table.label(row) for row in ill]
    mirrored[0] = np.maximum(mirrored[0], np.isin(mirrored[0], LESIONS)[::-1] * np.uint8(LESIONS[0]))
    assert across(mirrored[0]).any()
    drawn = {row: table.label(row) for row in range(len(table))} | dict(zip(ill, mirrored, strict=True))
    monkeypatch.setattr(LabelTable, "label", lambda self, row: drawn[row])
    assert condition_table(table).lesions_across == pytest.approx(1 / len(ill))


def test_condition_table_of_the_healthy_has_no_lesions(slice_folder: Path) -> None:
    histogram = condition_table(label_table(open_slice_set(slice_folder), "healthy", 2 / 3))
    counts = np.array(histogram.counts)
    assert counts[:, 1:].sum() == 0
    assert counts[:, 0].sum() == pytest.approx(18)
    assert histogram.lesions_across == 1


def test_records_of_the_fixture_agree_with_their_arrays(slice_folder: Path) -> None:
    scans: tuple[ScanRecord, ...] = open_slice_set(slice_folder).scans
    assert {scan.population for scan in scans} == {"healthy", "tumour"}
    for scan in scans:
        labels = open_slice_set(slice_folder).labels(scan)
        assert (labels.astype(int).sum(axis=1) == 255).all()
