"""The sampler that belongs to a trained denoiser: fitted to it once, at the end of its training."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from brainspade_cli.bundle_config import Solver
from brainspade_cli.console import Reporter
from brainspade_cli.diffusion import NoiseSchedule
from brainspade_cli.fitted_sampler import REFERENCE_STEPS, STEPS, fit_solver
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.sampling.label_blocks import draw_condition, has_kind
from brainspade_cli.training.loop import step_generator, step_seed
from brainspade_cli.weights import Bundle

# Latents that a denoiser sees at once, so that memory does not follow how many labels it is fitted to.
TOGETHER = 16


@torch.inference_mode()
def denoiser_solver(
    bundle: Bundle, population: str, *, count: int, seed: int, device: torch.device, reporter: Reporter
) -> Solver:
    """Fit the sampler of a bundle's denoiser for "healthy" or "tumour", on `count` labels drawn from `seed`.

    Slices with and without a lesion take turns where the training had both. In float32, without guidance; takes as long
    as drawing `count` labels in `REFERENCE_STEPS` evaluations. Raises WeightsError where the bundle lacks the denoiser.
    """
    name = f"denoiser-{population}"
    denoiser = cast(LabelDenoiser, bundle.network(f"denoiser_{population}", device))
    table, statistics = bundle.conditions(population), bundle.latent()
    shape = bundle.config.networks.autoencoder.latent_shape
    kinds = [lesion for lesion in (False, True) if has_kind(table, lesion)]
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

        schedule = NoiseSchedule(bundle.config.networks.schedule)
        return fit_solver(predict, noise.to(device), schedule=schedule, limit=statistics.limit)
