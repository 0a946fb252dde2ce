from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import ConditionTable, Solver
from brainspade_cli.console import Reporter
from brainspade_cli.files import write_json
from brainspade_cli.training.solver import TOGETHER, denoiser_solver
from brainspade_cli.weights import open_bundle
from tests.example_scripts import example_script
from tests.sampling.parts import CONDITIONS, tiny_bundle

HEALTHY = replace(CONDITIONS, counts=tuple((row[0], *[0.0] * (len(row) - 1)) for row in CONDITIONS.counts))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("weights"))


def fitted(bundle: Bundle, table: ConditionTable = CONDITIONS, seed: int = 0) -> tuple[Solver | None, torch.Tensor]:
    """The solver, and the conditions that the denoiser was told of the four labels that judge it and of the others."""
    told = []

    class Watched(Bundle):
        def network(self, name: str, device: torch.device | str = "cpu") -> nn.Module:
            denoiser = super().network(name, device)
            denoiser.register_forward_pre_hook(lambda _, inputs: told.append(inputs[2]))
            return denoiser

    config = replace(bundle.config, conditions={"tumour": table})
    watched = Watched(bundle.folder, config, bundle.source)
    cpu, quiet = torch.device("cpu"), Reporter(quiet=True)
    solver = denoiser_solver(watched, "tumour", count=18, seed=seed, device=cpu, reporter=quiet)
    first = next(place for place, batch in enumerate(told) if len(batch) == TOGETHER)
    return solver, torch.cat([told[0], *told[first : first + 2]])


def test_labels_with_and_without_a_lesion_take_turns(bundle: Bundle) -> None:
    told = fitted(bundle)[1]
    assert told.shape == (4 + 18, 3)
    assert told[:, 1].tolist() == [0.0, 1.0] * 11
    assert fitted(bundle, HEALTHY)[1][:, 1].tolist() == [0.0] * 22


def test_a_seed_gives_one_solver(bundle: Bundle) -> None:
    assert fitted(bundle)[0] == fitted(bundle)[0]
    assert fitted(bundle)[0] != fitted(bundle, seed=1)[0]


def test_the_script_fits_all_denoisers_and_changes_nothing_else(bundle: Bundle) -> None:
    example_script("train_starter/solver.py").main(bundle.folder, 2)
    after = open_bundle(str(bundle.folder)).config
    assert set(after.solvers) == {"healthy", "tumour"}
    assert replace(after, solvers={}) == bundle.config


def test_the_limit_of_latents_is_kept_to(bundle: Bundle) -> None:
    assert bundle.config.latent is not None
    narrow = replace(bundle.config.latent, limit=0.2)
    held = replace(bundle, config=replace(bundle.config, latent=narrow))
    assert fitted(held)[0] != fitted(bundle)[0]


def test_a_denoiser_that_has_left_gets_none(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    kept = {name: digest for name, digest in bundle.config.sha256.items() if name != "denoiser_healthy.safetensors"}
    write_json(tmp_path / "config.json", replace(bundle.config, sha256=kept).to_json())
    example_script("train_starter/solver.py").main(tmp_path, 2)
    assert set(open_bundle(str(tmp_path)).config.solvers) == {"tumour"}
