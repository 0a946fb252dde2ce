from __future__ import annotations

import json
import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainspade_cli.anatomy import NAMES
from brainspade_cli.bundle_config import BundleConfig, ConditionTable, LatentStatistics, NetworkConfigs, People, Solver
from brainspade_cli.bundle_info import bundle_info
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.errors import WeightsError
from brainspade_cli.files import sha256, write_json
from brainspade_cli.networks.configs import to_dict
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.networks.spade_generator import SpadeGenerator
from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.presets import preset, presets
from brainspade_cli.weights import open_bundle

TINY = preset("tiny")
SOLVER = Solver((700,), ((0.1, 1.0),))
IDENTITY = {"name": "brains", "preset": "tiny"}
BANK = {"flair": {"intensity_mean": 100, "intensity_std": 20.0}, "t1": {"intensity_mean": 90, "intensity_std": 10.0}}


def states() -> dict[str, dict[str, torch.Tensor]]:
    """Every part of a tiny bundle, with weights of its own for each part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        modules = {
            "label_autoencoder": LabelAutoencoder(TINY.autoencoder),
            "denoiser_healthy": LabelDenoiser(TINY.denoiser),
            "denoiser_tumour": LabelDenoiser(TINY.denoiser),
            "style_encoder": StyleEncoder(TINY.style_encoder),
            "spade_generator": SpadeGenerator(TINY.generator),
        }
        bank = {f"{name}.{key}": torch.randn(3, 8) for name in BANK for key in ("mean", "log_variance")}
    return {**{name: module.state_dict() for name, module in modules.items()}, "style_bank": bank}


@pytest.fixture(scope="session")
def parts() -> dict[str, dict[str, torch.Tensor]]:
    return states()


@pytest.fixture
def folder(tmp_path: Path, parts: dict[str, dict[str, torch.Tensor]]) -> Path:
    """A whole bundle."""
    table = ConditionTable((0.0, 0.5, 1.0), (0.0, 0.1), ((3.0, 1.0), (2.0, 0.0)))
    create_or_update_bundle(
        tmp_path / "bundle",
        config_updates={
            **IDENTITY,
            "latent": LatentStatistics((0.0, 0.1, 0.2), (1.0, 2.0, 3.0)),
            "conditions": {"healthy": table, "tumour": to_dict(table)},
            "solvers": {"healthy": SOLVER, "tumour": to_dict(SOLVER)},
            "modalities": ["t1", "flair"],
            "people": People(train=("a", "b"), held_out=("c",)),
            "style_bank": BANK,
            "stages": {name.replace("_", "-"): {"steps": 4} for name in parts},
            "licence": "CC-BY-4.0",
        },
        networks=parts,
    )
    return tmp_path / "bundle"


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def put_file(folder: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Exchange a tensor file for one that config.json vouches for."""
    path = folder / f"{name}.safetensors"
    safetensors.torch.save_file(tensors, path)
    vouch(folder, path)


def vouch(folder: Path, path: Path) -> None:
    data = config_of(folder)
    data["sha256"][path.name] = sha256(path)
    write_json(folder / "config.json", data)


def test_people_join_those_that_are_there(folder: Path) -> None:
    create_or_update_bundle(folder, config_updates={"people": People(("d",), ("c", "e"))}, networks={})
    assert config_of(folder)["people"] == {"train": ["a", "b", "d"], "held_out": ["c", "e"]}
    with pytest.raises(WeightsError, match="'b' both in train and in held_out"):
        create_or_update_bundle(folder, config_updates={"people": People((), ("b",))}, networks={})
    assert config_of(folder)["people"]["held_out"] == ["c", "e"]


@pytest.mark.parametrize(
    "name", ["label_autoencoder", "denoiser_healthy", "denoiser_tumour", "style_encoder", "spade_generator"]
)
def test_a_network_comes_back_as_it_was_but_for_half_precision(folder: Path, parts, name: str) -> None:
    before = torch.random.get_rng_state()
    module = open_bundle(str(folder)).network(name)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    for key, value in module.state_dict().items():
        assert value.dtype == parts[name][key].dtype
        torch.testing.assert_close(value, parts[name][key], atol=2**-11 * float(parts[name][key].abs().max()), rtol=0)


def test_files_are_half_precision_and_reproducible(folder: Path, parts, tmp_path: Path) -> None:
    stored = safetensors.torch.load_file(folder / "label_autoencoder.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    again = create_or_update_bundle(tmp_path / "again", config_updates=IDENTITY, networks=parts)
    assert again.config.sha256 == open_bundle(str(folder)).config.sha256
    full = create_or_update_bundle(tmp_path / "full", config_updates=IDENTITY, networks=parts, half=False)
    for key, value in full.network("label_autoencoder").state_dict().items():
        assert torch.equal(value, parts["label_autoencoder"][key])


def test_painting_hardly_changes_by_half_precision(folder: Path, parts) -> None:
    bundle = open_bundle(str(folder))
    noise = torch.Generator().manual_seed(2)
    maps = torch.softmax(4 * torch.randn(1, 8, 192, 256, generator=noise), dim=1)
    style = torch.randn(1, 8, generator=noise)
    with torch.random.fork_rng(devices=[]):
        exact = SpadeGenerator(TINY.generator).eval()
    exact.load_state_dict(parts["spade_generator"])
    with torch.inference_mode():
        wanted, got = exact(maps, style), bundle.network("spade_generator")(maps, style)
    assert 0 < float((wanted - got).square().mean().sqrt()) < 0.005 * float(wanted.std())


@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=6),
    scale=st.sampled_from([1e-30, 1e-12, 1e-6, 1.0, 6e4, 7e4, 1e8, 1e30]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_tensor_loses_more_than_half_precision_rounding(tmp_path: Path, values: list[float], scale: float) -> None:
    tensor = torch.tensor(values) * scale
    bundle = create_or_update_bundle(
        tmp_path / "bundle",
        config_updates=IDENTITY,
        networks={"style_bank": {"variance": tensor, "count": torch.ones(1).long()}},
    )
    stored = safetensors.torch.load_file(bundle.folder / "style_bank.safetensors")
    assert stored["count"].dtype == torch.int64
    assert float((stored["variance"].float() - tensor).abs().max()) <= 2**-11 * float(tensor.abs().max())


def test_tensors_that_are_not_finite_are_not_written(folder: Path, parts) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    bad = {**parts["spade_generator"]}
    key = next(iter(bad))
    bad[key] = torch.full_like(bad[key], float("nan"))
    with pytest.raises(WeightsError, match=f"spade_generator.safetensors was not written.*{key}"):
        create_or_update_bundle(folder, config_updates={}, networks={"style_encoder": {}, "spade_generator": bad})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_refused_configuration_leaves_the_bundle_as_it_was(folder: Path, parts) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(WeightsError, match=r"latent\.std"):
        create_or_update_bundle(
            folder,
            config_updates={"latent": {"mean": [0, 0, 0], "std": [1, 0, 1]}},
            networks={"label_autoencoder": {"weight": torch.ones(2)}},
        )
    with pytest.raises(WeightsError, match="no part 'painter'"):
        create_or_update_bundle(folder, config_updates={}, networks={"painter": {}})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_update_merges_tables_and_replaces_the_rest(folder: Path) -> None:
    bundle = create_or_update_bundle(
        folder, config_updates={"stages": {"denoiser-tumour": {"steps": 9}}, "modalities": ["t2"]}, networks={}
    )
    assert bundle.config.stages["denoiser-tumour"] == {"steps": 9}
    assert bundle.config.stages["denoiser-healthy"] == {"steps": 4}
    assert bundle.config.modalities == ("t2",)
    assert bundle.config.people == People(("a", "b"), ("c",))
    assert open_bundle(str(folder)).config == bundle.config


def test_other_autoencoder_weights_take_the_old_denoisers_out(folder: Path, parts) -> None:
    same = create_or_update_bundle(
        folder, config_updates={}, networks={"label_autoencoder": parts["label_autoencoder"]}
    )
    assert same.has("denoiser_healthy")
    other = {key: value + 1 for key, value in parts["label_autoencoder"].items()}
    bundle = create_or_update_bundle(
        folder, config_updates={}, networks={"label_autoencoder": other, "denoiser_tumour": parts["denoiser_tumour"]}
    )
    assert (bundle.has("denoiser_healthy"), bundle.has("denoiser_tumour")) == (False, True)
    assert "denoiser-healthy" not in bundle.config.stages
    assert "denoiser-tumour" in bundle.config.stages
    with pytest.raises(WeightsError, match=f"train-labels SLICES --out {bundle.folder} --population healthy"):
        bundle.network("denoiser_healthy")


def test_a_solver_leaves_with_the_denoiser_that_it_was_fitted_to(folder: Path, parts) -> None:
    same = create_or_update_bundle(folder, config_updates={}, networks={"denoiser_healthy": parts["denoiser_healthy"]})
    assert same.config.solvers == {"healthy": SOLVER, "tumour": SOLVER}
    other = {key: value + 1 for key, value in parts["denoiser_healthy"].items()}
    changed = create_or_update_bundle(folder, config_updates={}, networks={"denoiser_healthy": other})
    assert changed.config.solvers == {"tumour": SOLVER}
    fitted = replace(SOLVER, timesteps=(600,))
    back = create_or_update_bundle(
        folder,
        config_updates={"solvers": {"healthy": fitted}},
        networks={"denoiser_healthy": parts["denoiser_healthy"]},
    )
    assert back.config.solvers == {"healthy": fitted, "tumour": SOLVER}
    moved = {key: value + 1 for key, value in parts["label_autoencoder"].items()}
    gone = create_or_update_bundle(folder, config_updates={}, networks={"label_autoencoder": moved})
    assert gone.config.solvers == {}
    assert "solvers" not in config_of(folder)


def test_an_autoencoder_with_another_decoder_keeps_the_denoisers(folder: Path, parts) -> None:
    other = {
        key: value + 1 if key.startswith(("vae.decoder.", "vae.post_quant_conv.")) else value
        for key, value in parts["label_autoencoder"].items()
    }
    bundle = create_or_update_bundle(folder, config_updates={}, networks={"label_autoencoder": other})
    assert bundle.has("denoiser_healthy")
    assert bundle.config.stages["denoiser-healthy"] == {"steps": 4}
    # What is there cannot be compared: nobody knows which latents the denoisers know.
    (folder / "label_autoencoder.safetensors").write_bytes(b"damaged")
    again = create_or_update_bundle(
        folder, config_updates={}, networks={"label_autoencoder": parts["label_autoencoder"]}
    )
    assert not again.has("denoiser_healthy")


def test_other_encoder_weights_take_the_old_style_bank_out(folder: Path, parts) -> None:
    other = {key: value + 1 for key, value in parts["style_encoder"].items()}
    bundle = create_or_update_bundle(
        folder, config_updates={}, networks={"style_encoder": other, "spade_generator": parts["spade_generator"]}
    )
    assert (bundle.has("spade_generator"), bundle.has("style_bank"), bundle.config.style_bank) == (True, False, {})


def test_two_trainings_that_end_at_once_both_enter(tmp_path: Path, parts) -> None:
    folder = tmp_path / "bundle"
    create_or_update_bundle(folder, config_updates=IDENTITY, networks={})
    work = [
        threading.Thread(
            target=create_or_update_bundle,
            args=(folder,),
            kwargs={
                "config_updates": {"stages": {name.replace("_", "-"): {"steps": 1}}},
                "networks": {name: parts[name]},
            },
        )
        for name in ("denoiser_healthy", "denoiser_tumour", "spade_generator", "style_bank")
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    bundle = open_bundle(str(folder))
    assert len(bundle.config.stages) == len(bundle.config.sha256) == 4


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("label_autoencoder", "train-labels"),
        ("denoiser_tumour", "--population tumour"),
        ("spade_generator", "train-images"),
    ],
)
def test_a_bundle_under_training_says_what_makes_the_missing_part(tmp_path: Path, name: str, command: str) -> None:
    bundle = create_or_update_bundle(tmp_path / "new", config_updates=IDENTITY, networks={})
    assert open_bundle(str(tmp_path / "new")) == bundle
    with pytest.raises(WeightsError, match=f"have no {name}; train it with `brainspade .*{command}"):
        bundle.network(name)
    with pytest.raises(WeightsError, match="latent statistics"):
        bundle.latent()
    with pytest.raises(WeightsError, match=r"condition table for 'tumour'.*--population tumour"):
        bundle.conditions("tumour")


def test_damaged_and_absent_files_are_named(folder: Path) -> None:
    path = folder / "style_encoder.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(WeightsError, match=r"style_encoder\.safetensors is damaged"):
        open_bundle(str(folder)).network("style_encoder")
    for content in (whole[:-10], b"", b"\xff" * 64, b'\x08\0\0\0\0\0\0\0{"a":1}\n'):
        path.write_bytes(content)
        vouch(folder, path)
        with pytest.raises(WeightsError, match=r"style_encoder\.safetensors is not a whole safetensors file"):
            open_bundle(str(folder)).network("style_encoder")
    path.unlink()
    with pytest.raises(WeightsError, match=r"style_encoder\.safetensors cannot be read"):
        open_bundle(str(folder)).network("style_encoder")
    with pytest.raises(WeightsError, match=r"style_encoder\.safetensors cannot be read"):
        bundle_info(open_bundle(str(folder)))


def test_tensors_of_another_network_are_named(folder: Path, parts) -> None:
    good = {key: value.clone() for key, value in parts["style_encoder"].items()}
    key = sorted(good)[0]
    cases = {
        f"lacks the tensor {key}": {other: value for other, value in good.items() if other != key},
        "has a tensor zzz that": {**good, "zzz": torch.ones(1)},
        f"has {key} of shape \\(7,\\)": {**good, key: torch.ones(7)},
        f"has {key} of type torch.int64": {**good, key: good[key].long()},
    }
    for problem, tensors in cases.items():
        put_file(folder, "style_encoder", tensors)
        with pytest.raises(WeightsError, match=f"style_encoder.safetensors {problem}"):
            open_bundle(str(folder)).network("style_encoder")


def test_a_network_that_cannot_be_built_is_said(folder: Path) -> None:
    data = config_of(folder)
    data["networks"]["autoencoder"]["norm_groups"] = 5
    write_json(folder / "config.json", data)
    with pytest.raises(WeightsError, match="describes a label_autoencoder that cannot be built"):
        open_bundle(str(folder)).network("label_autoencoder")


def test_the_style_bank_has_styles_and_intensities(folder: Path, parts) -> None:
    bank = open_bundle(str(folder)).style_bank("t1")
    torch.testing.assert_close(bank.mean, parts["style_bank"]["t1.mean"], atol=2e-3, rtol=0)
    assert bank.log_variance.shape == (3, 8)
    assert (bank.intensity_mean, bank.intensity_std, bank.background) == (90.0, 10.0, 0.0)
    with pytest.raises(WeightsError, match="no bank of styles for 'pd', only for @flair, @t1"):
        open_bundle(str(folder)).style_bank("pd")
    put_file(folder, "style_bank", {"t1.mean": torch.ones(2, 8), "t1.log_variance": torch.ones(3, 8)})
    with pytest.raises(WeightsError, match=r"shape \(3, 8\) for t1.log_variance"):
        open_bundle(str(folder)).style_bank("t1")
    with pytest.raises(WeightsError, match=r"no tensor for flair.mean"):
        open_bundle(str(folder)).style_bank("flair")


def test_hashes_are_those_of_the_files(folder: Path) -> None:
    hashes = open_bundle(str(folder)).hashes()
    assert hashes == {path.name: sha256(path) for path in folder.iterdir()}


def test_info_counts_what_is_there(folder: Path, parts) -> None:
    info = bundle_info(open_bundle(str(folder)))
    floating = [value for value in parts["spade_generator"].values() if value.is_floating_point()]
    assert info["parameters"]["spade_generator"] == sum(value.numel() for value in floating)
    assert info["people"] == {"train": 2, "held_out": 1}
    assert info["fitted_samplers"] == {"healthy": {"steps": 1}, "tumour": {"steps": 1}}
    assert info["bytes"] == sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert (info["missing"], info["licence"], info["revision"]) == ([], "CC-BY-4.0", None)
    json.dumps(info)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "newer brainspade.*upgrade"),
        ({"format": 0}, "of format 0"),
        ({"format": "one"}, "of format 'one'"),
        ({"labels": ["background", "brain"]}, "label table"),
        ({"name": 3}, "name must be a text"),
        ({"networks": {}}, "networks.autoencoder is missing"),
        ({"networks": []}, "networks must be a table"),
        ({"colour": "red"}, "colour is not an entry"),
        ({"modalities": "t1"}, "modalities must be a list"),
        ({"latent": {"mean": [0, 0], "std": [1, 1]}}, "3 means"),
        ({"latent": {"mean": [0, 0, 0], "std": [1, 1, float("inf")]}}, r"latent.std\[2\] must be a finite number"),
        ({"sha256": {"../evil.safetensors": "0" * 64}}, "no file of a bundle"),
        ({"sha256": {"spade_generator.safetensors": "no"}}, "not a SHA-256"),
        ({"people": {"train": [1]}}, r"people.train\[0\] must be a text"),
        ({"people": {"train": ["a", "b"], "held_out": ["b"]}}, "people names 'b' both in train and in held_out"),
        ({"conditions": {"tumour": {"position_edges": [0, 1], "load_edges": [0, 1], "counts": [[1]]}}}, "one column"),
        ({"conditions": {"tumour": {"position_edges": [0, 1], "load_edges": [0, 1], "counts": [[0, 0]]}}}, "all 0"),
        ({"conditions": {"tumour": {"position_edges": [1, 0], "load_edges": [0, 1], "counts": [[1, 0]]}}}, "rise"),
    ],
)
def test_a_config_that_cannot_be_used_says_why(folder: Path, change: dict[str, Any], words: str) -> None:
    write_json(folder / "config.json", {**config_of(folder), **change})
    with pytest.raises(WeightsError, match=words) as failure:
        open_bundle(str(folder))
    assert str(folder / "config.json") in str(failure.value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("networks.schedule.prediction", "score", r"networks\.schedule\.prediction must be one of noise, velocity"),
        ("networks.schedule.steps", 10**9, r"networks\.schedule\.steps must lie between 1 and 10000"),
        ("networks.schedule.steps", 8000, r"networks\.schedule\.beta_end leaves no signal"),
        ("networks.schedule.beta_start", -0.1, r"networks\.schedule\.beta_start .*beta_end must rise"),
        ("networks.schedule.beta_start", 0.0, "beta_end must rise"),
        ("networks.schedule.beta_start", 1e-30, "beta_end must rise"),
        ("networks.schedule.beta_start", 0.5, "beta_end must rise"),
        ("networks.schedule.beta_end", 1.0, "beta_end must rise"),
        ("networks.schedule.beta_end", 5.0, "beta_end must rise"),
        ("networks.schedule.beta_end", 0.9, r"networks\.schedule\.beta_end leaves no signal"),
        ("latent.limit", 1e308, r"latent\.limit must lie between"),
        ("latent.limit", 0.0, r"latent\.limit must lie between"),
        ("latent.std", [1.0, 1.0, 1e30], r"latent\.std\[2\] must lie between"),
        ("latent.mean", [1.0, -1e30, 1.0], r"latent\.mean\[1\] must lie between"),
        ("conditions.tumour.position_edges", [-1e308, 1e308], r"conditions\.tumour\.position_edges.*between 0 and 1"),
        ("conditions.tumour.load_edges", [0.0, 1.5], r"conditions\.tumour\.load_edges.*between 0 and 1"),
        ("conditions.tumour.lesions_across", 1.5, r"conditions\.tumour\.lesions_across must lie between 0 and 1"),
        ("conditions.tumour.places", {"wm": []}, r"conditions\.tumour\.places\.wm is no structure of a fixed place"),
        ("conditions.tumour.places", {"deep_gm": []}, r"conditions\.tumour\.places\.deep_gm must have 192 hexadecimal"),
        ("conditions.tumour.places", {"deep_gm": ["0" * 192, "g" * 192]}, r"\.deep_gm must have 192 hexadecimal"),
        ("conditions.tumour.places", {"brainstem": ["0" * 192, "0" * 193]}, r"\.brainstem must have 192 hexadecimal"),
        ("conditions.tumour.counts", [[1e308, 1e308]], r"conditions\.tumour\.counts must be"),
        ("solvers.tumour.timesteps", [], r"solvers\.tumour\.timesteps must fall"),
        ("solvers.tumour.timesteps", [1000], r"solvers\.tumour\.timesteps must lie between 0 and 999"),
        ("solvers.tumour.timesteps", [-1], r"solvers\.tumour\.timesteps must lie between 0 and 999"),
        ("solvers.tumour.timesteps", [700, 700], r"solvers\.tumour\.timesteps must fall"),
        ("solvers.nobody", {"timesteps": [700], "weights": [[0.1, 1.0]]}, r"solvers\.nobody belongs to no denoiser"),
        ("solvers.tumour.timesteps", [300, 700], r"solvers\.tumour\.timesteps must fall"),
        ("solvers.tumour.timesteps", [700, 300], r"solvers\.tumour\.weights must have a row for each timestep"),
        ("solvers.tumour.weights", [[1.0]], r"solvers\.tumour\.weights must have a row for each timestep"),
        ("solvers.tumour.weights", [[1.0, 1e9]], r"solvers\.tumour\.weights\[0\] must lie between -100 and 100"),
    ],
)
def test_numbers_that_no_label_can_be_drawn_with_are_refused_by_name(place: str, value: Any, words: str) -> None:
    document = json.loads(json.dumps(WHOLE.to_json()))
    *way, last = place.split(".")
    parent = document
    for key in way:
        parent = parent[key]
    parent[last] = value
    with pytest.raises(WeightsError, match=rf"^here/config\.json cannot be used: .*{words}.*get the weights again\.$"):
        BundleConfig.from_json(document, "here/config.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"model_type": "bert"}'])
def test_a_config_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        open_bundle(str(tmp_path))


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(leaf for key, value in inner for leaf in leaves(value, (*path, key)))]


WHOLE = BundleConfig(
    name="brains",
    preset="tiny",
    networks=NetworkConfigs(TINY.autoencoder, TINY.denoiser, TINY.schedule, TINY.style_encoder, TINY.generator),
    latent=LatentStatistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    conditions={"tumour": ConditionTable((0.0, 1.0), (0.0, 1.0), ((1.0, 2.0),))},
    solvers={"tumour": SOLVER},
    people=People(("a",), ("b",)),
    sha256={"style_bank.safetensors": "0" * 64},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=300)
def test_any_change_to_a_config_is_read_or_refused_in_words(data: st.DataObject) -> None:
    document = json.loads(json.dumps(WHOLE.to_json()))
    *way, last = data.draw(st.sampled_from(leaves(document)[1:]))
    parent = document
    for key in way:
        parent = parent[key]
    if data.draw(st.booleans()):
        parent[last] = data.draw(JSON)
    else:
        del parent[last]
    try:
        config = BundleConfig.from_json(document)
    except WeightsError:
        return
    assert BundleConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_config_of_every_preset_survives_json() -> None:
    for name in presets():
        sizes = preset(name)
        networks = NetworkConfigs(
            sizes.autoencoder, sizes.denoiser, sizes.schedule, sizes.style_encoder, sizes.generator
        )
        config = replace(WHOLE, preset=name, networks=networks)
        assert BundleConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert WHOLE.labels == NAMES


def test_a_gpu_trains_the_same_networks_as_a_cpu() -> None:
    """Else neither could go on from the other's weights."""
    one, other = preset("starter"), preset("starter-gpu")
    for field in fields(NetworkConfigs):
        assert getattr(one, field.name) == getattr(other, field.name), field.name
