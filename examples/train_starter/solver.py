"""Fit the samplers of a bundle's denoisers again, as the end of `brainspade train-labels` does.

python examples/train_starter/solver.py weights/ [--labels K] [--seed K] [--device NAME]

For weights that did not get one, or whose denoisers were put together by other means. Some minutes on two cores for
64 labels of the preset `starter`, each drawn in 48 evaluations. Nothing but config.json changes, and a denoiser for
which UniPC is better keeps the sampler that it has.
"""

import argparse
from pathlib import Path

from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.devices import open_compute
from brainspade_cli.presets import preset
from brainspade_cli.training.solver import denoiser_solver
from brainspade_cli.weights import open_bundle


def main(weights: Path, labels: int | None = None, seed: int = 0, device: str = "cpu") -> None:
    """Put a sampler for each denoiser of `weights` into its config.json, fitted to `labels` labels (the preset's)."""
    bundle, reporter = open_bundle(str(weights)), Reporter()
    count = preset(bundle.config.preset).labels.solver_labels if labels is None else labels
    place = open_compute(device).device
    solvers = {
        population: denoiser_solver(bundle, population, count=count, seed=seed, device=place, reporter=reporter)
        for population in bundle.config.conditions
        if bundle.has(f"denoiser_{population}")
    }
    better = {population: solver for population, solver in solvers.items() if solver is not None}
    create_or_update_bundle(weights, config_updates={"solvers": better}, networks={})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--labels", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    main(**vars(parser.parse_args()))
