"""Fit the samplers of a bundle's denoisers again, as the end of `brainspade train-labels` does.

python examples/train_starter/solver.py weights/ [LABELS]

For weights that did not get one, or whose denoisers were put together by other means. Some minutes on two cores for
64 labels of the preset `starter`, each drawn in 48 evaluations. Nothing but config.json changes.
"""

import sys
from pathlib import Path

import torch

from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.presets import preset
from brainspade_cli.training.solver import denoiser_solver
from brainspade_cli.weights import open_bundle


def main(weights: Path, count: int | None = None) -> None:
    """Put a sampler for each denoiser of `weights` into its config.json, fitted to `count` labels (the preset's)."""
    bundle = open_bundle(str(weights))
    labels = preset(bundle.config.preset).labels.solver_labels if count is None else count
    cpu, reporter = torch.device("cpu"), Reporter()
    solvers = {
        population: denoiser_solver(bundle, population, count=labels, seed=0, device=cpu, reporter=reporter)
        for population in bundle.config.conditions
        if bundle.has(f"denoiser_{population}")
    }
    create_or_update_bundle(weights, config_updates={"solvers": solvers}, networks={})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
