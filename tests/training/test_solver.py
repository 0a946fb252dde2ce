from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from brainspade_cli.bundle_config import ConditionTable, Solver
from brainspade_cli.console import Reporter
from brainspade_cli.diffusion import NoiseSchedule
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.training.solver import denoiser_solver
from brainspade_cli.weights import Bundle, open_bundle
from tests.example_scripts import example_script
from tests.sampling.parts import CONDITIONS, tiny_bundle

HEALTHY = replace(CONDITIONS, counts=tuple((row[0], *[0.0] * (len(row) - 1)) for row in CONDITIONS.counts))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("weights"))


def fitted(bundle: Bundle, table: ConditionTable = CONDITIONS, seed: int = 0) -> tuple[Solver, torch.Tensor]:
    """The solver, and the conditions that the denoiser was told, (labels, 3), at each of its evaluations."""
    denoiser = bundle.network("denoiser_tumour")
    assert isinstance(denoiser, LabelDenoiser)
    told = []
    denoiser.register_forward_pre_hook(lambda _, inputs: told.append(inputs[2]))
    solver = denoiser_solver(
        denoiser,
        table,
        NoiseSchedule(bundle.config.networks.schedule),
        count=18,
        shape=(3, 48, 64),
        limit=3.0,
        seed=seed,
        name="denoiser-tumour",
        reporter=Reporter(quiet=True),
    )
    return solver, torch.cat(told[:2])


def test_labels_with_and_without_a_lesion_take_turns(bundle: Bundle) -> None:
    told = fitted(bundle)[1]
    assert told.shape == (18, 3)
    assert told[:, 1].tolist() == [0.0, 1.0] * 9
    assert fitted(bundle, HEALTHY)[1][:, 1].tolist() == [0.0] * 18


def test_a_seed_gives_one_solver(bundle: Bundle) -> None:
    assert fitted(bundle)[0] == fitted(bundle)[0]
    assert fitted(bundle)[0] != fitted(bundle, seed=1)[0]


def test_the_script_fits_all_denoisers_and_changes_nothing_else(bundle: Bundle) -> None:
    example_script("train_starter/solver.py").main(bundle.folder, 2)
    after = open_bundle(str(bundle.folder)).config
    assert set(after.solvers) == {"healthy", "tumour"}
    assert replace(after, solvers={}) == bundle.config
