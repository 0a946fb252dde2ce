"""Fit the samplers of a bundle's denoisers again, as the end of `brainspade train-labels` does.

python examples/train_starter/solver.py weights/ [LABELS]

For weights that did not get one, or whose denoisers were put together by other means. Two minutes on two cores for 64
labels of the preset `starter`, each drawn in 48 evaluations. Nothing but config.json changes.
"""

import sys
from pathlib import Path

from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.diffusion import NoiseSchedule
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.presets import preset
from brainspade_cli.training.solver import denoiser_solver
from brainspade_cli.weights import open_bundle


def main(weights: Path, count: int | None = None) -> None:
    """Put a sampler for each denoiser of `weights` into its config.json, fitted to `count` labels (the preset's)."""
    bundle = open_bundle(str(weights))
    config, statistics = bundle.config, bundle.latent()
    height, width = (side // config.networks.autoencoder.down_sampling for side in SLICE_SHAPE)
    solvers = {
        population: denoiser_solver(
            bundle.network(f"denoiser_{population}"),
            bundle.conditions(population),
            NoiseSchedule(config.networks.schedule),
            count=preset(config.preset).labels.solver_labels if count is None else count,
            shape=(len(statistics.mean), height, width),
            limit=statistics.limit,
            seed=0,
            name=f"denoiser-{population}",
            reporter=Reporter(),
        )
        for population in config.conditions
    }
    create_or_update_bundle(weights, config_updates={"solvers": solvers}, networks={})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
