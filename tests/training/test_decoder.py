"""The label autoencoder's decoder, trained further: in a training's course, and of given weights."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.presets import Preset, preset
from brainspade_cli.training import autoencoder
from brainspade_cli.training.labels import train_labels
from brainspade_cli.training.run import TrainingRequest
from brainspade_cli.weights import open_bundle
from tests.example_scripts import example_script

TINY = preset("tiny")
QUICK = replace(
    TINY,
    labels=replace(TINY.labels, autoencoder_steps=1, denoiser_steps=1, perceptual_weight=0.0, adversarial_weight=0.0),
)


def further(**labels: float) -> Preset:
    """The quick preset with two steps of the decoder."""
    return replace(QUICK, labels=replace(QUICK.labels, **{"decoder_steps": 2, **labels}))


def run(slices: Path, out: Path, settings: Preset, population: str = "healthy", resume: bool = False) -> Bundle:
    request = TrainingRequest(slices, out, settings, resume=resume, device="cpu", precision="fp32")
    train_labels(request, population, Reporter(quiet=True))
    return open_bundle(str(out))


def changed_layers(before: Bundle, after: Bundle) -> set[str]:
    """Layers of the label autoencoder that two bundles differ in."""
    old, new = (bundle.network("label_autoencoder").state_dict() for bundle in (before, after))
    return {key.split(".")[1] for key in old if not torch.equal(old[key], new[key])}


@pytest.fixture(scope="module")
def plain(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return run(slice_folder, tmp_path_factory.mktemp("decoder") / "plain", QUICK)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return example_script("train_starter/decoder.py")


def test_a_decoder_is_trained_further_and_its_latents_stay(plain: Bundle, slice_folder: Path, tmp_path: Path) -> None:
    trained = run(slice_folder, tmp_path, further())
    assert trained.config.stages["decoder"] == {"steps": 2}
    assert changed_layers(plain, trained) == {"decoder", "post_quant_conv"}
    assert trained.config.latent == plain.config.latent
    # Finished, it is kept, and denoisers go on.
    again = run(slice_folder, tmp_path, further(denoiser_steps=2), resume=True).config
    kept = again.sha256["label_autoencoder.safetensors"]
    assert kept == trained.config.sha256["label_autoencoder.safetensors"]
    # Trained longer, it costs the bundle no denoiser.
    longer = run(slice_folder, tmp_path, further(decoder_steps=3), "tumour", resume=True)
    assert longer.config.sha256["label_autoencoder.safetensors"] != kept
    assert longer.has("denoiser_healthy")
    assert longer.has("denoiser_tumour")


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_decoder_learns_from_means_with_some_noise(
    script: ModuleType,
    plain: Bundle,
    slice_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    noise: float,
) -> None:
    means: list[torch.Tensor] = []
    off: list[torch.Tensor] = []

    class Watched(LabelAutoencoder):
        def encode(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mean, log_variance = super().encode(maps)
            means.append(mean)
            # A wide posterior: draws of it would lie far from the mean.
            return mean, torch.full_like(log_variance, 4.0)

        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                off.append(latents.detach() - means[-1])
            return super().decode(latents)

    monkeypatch.setattr(autoencoder, "LabelAutoencoder", Watched)
    settings = further(autoencoder_batch=8, decoder_steps=6, decoder_noise=noise)
    script.main(slice_folder, plain.folder, tmp_path, settings, device="cpu")
    channels = torch.tensor(plain.latent().std)
    deviations = torch.cat(off[-6:]).std(dim=(2, 3)) / channels
    assert float(deviations.max()) <= noise * 1.05
    if noise:
        # Each latent has noise of its own deviation, between none and that, the same in all channels.
        assert float(deviations.min()) < noise / 3 < 2 * noise / 3 < float(deviations.max())
        assert torch.allclose(deviations, deviations.mean(dim=1, keepdim=True), rtol=0.1)


def test_its_l1_has_a_weight_of_its_own(script: ModuleType, plain: Bundle, slice_folder: Path, tmp_path: Path) -> None:
    losses = []
    for name, weight in (("with", 7.0), ("without", 0.0)):
        settings = further(decoder_l1_weight=weight, reconstruction_weight=3.0, cross_entropy_weight=2.0)
        script.main(slice_folder, plain.folder, tmp_path / name, settings, device="cpu")
        with (tmp_path / name / "training" / "decoder" / "losses.csv").open() as file:
            losses.append([float(row["l1"]) for row in csv.DictReader(file)])
    # The first step sees the same network, the second what either weight has made of it.
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_the_decoder_of_given_weights_is_trained_and_nothing_else(
    script: ModuleType, plain: Bundle, slice_folder: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        # The second time it is finished, and comes out the same.
        script.main(slice_folder, plain.folder, tmp_path, further(), device="cpu")
        after = open_bundle(str(tmp_path))
        assert changed_layers(plain, after) == {"decoder", "post_quant_conv"}
        assert after.config.stages == {**plain.config.stages, "decoder": {"steps": 2}}
        old, new = plain.config.sha256, after.config.sha256
        assert set(new) == set(old)
        assert {name for name in old if new[name] != old[name]} == {"label_autoencoder.safetensors"}


def test_sharper_maps_are_powers_of_those_before_and_nothing_else_changes(plain: Bundle, tmp_path: Path) -> None:
    sharpen = example_script("train_starter/sharpen.py").main
    sharpen(plain.folder, tmp_path / "once", 1.5)
    sharpen(tmp_path / "once", tmp_path / "twice", 1.2)
    latents = 5 * torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    before = plain.network("label_autoencoder").decode_maps(latents)
    for name, power in (("once", 1.5), ("twice", 1.8)):
        sharper = open_bundle(str(tmp_path / name))
        assert changed_layers(plain, sharper) == {"decoder"}
        old, new = plain.config, sharper.config
        assert set(new.sha256) == set(old.sha256)
        changed = {file for file in old.sha256 if new.sha256[file] != old.sha256[file]}
        assert changed == {"label_autoencoder.safetensors"}
        assert (new.latent, new.people) == (old.latent, old.people)
        assert new.stages == {**old.stages, "sharpened": {"power": pytest.approx(power)}}
        after, powers = sharper.network("label_autoencoder").decode_maps(latents), before**power
        torch.testing.assert_close(after, powers / powers.sum(dim=1, keepdim=True), atol=2e-3, rtol=0)
        assert float((after - before).abs().max()) > 0.02


def test_weights_are_not_sharpened_in_their_place(plain: Bundle) -> None:
    before = plain.config
    with pytest.raises(InputError, match="another folder"):
        example_script("train_starter/sharpen.py").main(plain.folder, plain.folder, 1.5)
    assert open_bundle(str(plain.folder)).config == before
