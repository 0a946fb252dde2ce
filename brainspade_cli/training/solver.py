"""The sampler that belongs to a trained denoiser: fitted to it once, at the end of its training, if that pays."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import Solver
from brainspade_cli.console import Reporter
from brainspade_cli.diffusion import GENERAL, NoiseSchedule, samplers
from brainspade_cli.fitted_sampler import REFERENCE_STEPS, STEPS, Draws, fewest_evaluations
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.sampling.label_blocks import draw_condition, has_kind
from brainspade_cli.training.loop import step_generator, step_seed

# Latents that a denoiser sees at once, so that memory does not follow how many labels it is fitted to.
TOGETHER = 16
# One label to judge the sampler by for so many that it is fitted to.
JUDGED = 4


@torch.inference_mode()
def denoiser_solver(
    bundle: Bundle, population: str, *, count: int, seed: int, device: torch.device, reporter: Reporter
) -> Solver | None:
    """The fitted sampler of a bundle's denoiser for "healthy" or "tumour"; None where UniPC does better.

    It is fitted to `count` labels drawn from `seed`, and judged by a fourth as many others. Slices with and without a
    lesion take turns where the training had both. In float32, without guidance; takes as long as drawing these labels
    in `REFERENCE_STEPS` evaluations. Raises WeightsError where the bundle lacks the denoiser.
    """
    name = f"denoiser-{population}"
    denoiser = cast(LabelDenoiser, bundle.network(f"denoiser_{population}", device))
    table, statistics = bundle.conditions(population), bundle.latent()
    shape = bundle.config.networks.autoencoder.latent_shape
    kinds = [lesion for lesion in (False, True) if has_kind(table, lesion)]
    rng = np.random.default_rng(step_seed(seed, f"{name} solver conditions", 0))
    total = count + max(1, count // JUDGED)
    told = torch.tensor([draw_condition(table, kinds[k % len(kinds)], rng) for k in range(total)], dtype=torch.float32)
    generators = [step_generator(seed, f"{name} solver noise", index) for index in range(total)]
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    schedule = NoiseSchedule(bundle.config.networks.schedule)
    expected = 2 * (REFERENCE_STEPS + STEPS) + samplers()[GENERAL].default_steps

    with reporter.progress(f"{name}: sampler", expected) as advance:

        def draws(part: slice) -> Draws:
            def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
                parts = zip(latents.split(TOGETHER), timesteps.split(TOGETHER), told[part].split(TOGETHER), strict=True)
                predicted = torch.cat([denoiser(some, times, wanted.to(device)) for some, times, wanted in parts])
                advance()
                return predicted

            return Draws(predict, noise[part].to(device))

        solver = fewest_evaluations(
            draws(slice(count)), draws(slice(count, None)), schedule=schedule, limit=statistics.limit
        )
    if solver is None:
        reporter.say(f"{name}: no sampler of its own, for UniPC comes nearer to {REFERENCE_STEPS} evaluations.")
    else:
        reporter.say(f"{name}: a sampler of its own draws a label in {solver.steps} evaluations.")
    return solver
