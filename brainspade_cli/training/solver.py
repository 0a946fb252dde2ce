"""The sampler that belongs to a trained denoiser: fitted to it once, at the end of its training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brainspade_cli.bundle_config import ConditionTable, Solver
from brainspade_cli.console import Reporter
from brainspade_cli.diffusion import NoiseSchedule
from brainspade_cli.fitted_sampler import REFERENCE_STEPS, STEPS, fit_solver
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.sampling.label_blocks import draw_condition
from brainspade_cli.training.loop import step_generator, step_seed

# Latents that a denoiser sees at once: the smallest training batch, without gradients.
TOGETHER = 16


@torch.inference_mode()
def denoiser_solver(
    denoiser: LabelDenoiser,
    table: ConditionTable,
    schedule: NoiseSchedule,
    *,
    count: int,
    shape: tuple[int, int, int],
    limit: float,
    seed: int,
    name: str,
    reporter: Reporter,
) -> Solver:
    """Fit the sampler of a denoiser on `count` latents of `shape` (C, h, w) drawn from `seed`, in float32.

    `table` says which conditions there are: slices with and without a lesion take turns where it has both. `limit` is
    that of the latents. Takes as long as drawing `count` labels in `REFERENCE_STEPS` evaluations.
    """
    device = next(denoiser.parameters()).device
    kinds = [kind for kind, there in zip((False, True), _kinds(table), strict=True) if there]
    rng = np.random.default_rng(step_seed(seed, f"{name} solver conditions", 0))
    told = torch.tensor([draw_condition(table, kinds[k % len(kinds)], rng) for k in range(count)], dtype=torch.float32)
    generators = [step_generator(seed, f"{name} solver noise", index) for index in range(count)]
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])

    with reporter.progress(f"{name}: sampler", REFERENCE_STEPS + STEPS) as advance:

        def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
            parts = zip(latents.split(TOGETHER), timesteps.split(TOGETHER), told.split(TOGETHER), strict=True)
            predicted = torch.cat([denoiser(part, times, told_part.to(device)) for part, times, told_part in parts])
            advance()
            return predicted

        return fit_solver(predict, noise.to(device), schedule=schedule, limit=limit)


def _kinds(table: ConditionTable) -> tuple[bool, bool]:
    """Whether the training slices had any without a lesion, and any with one."""
    counts = np.asarray(table.counts, np.float64)
    return bool(counts[:, 0].sum() > 0), bool(counts[:, 1:].sum() > 0)
