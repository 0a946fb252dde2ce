"""The noise schedule of the label denoisers, and the samplers that turn noise into latents (paper 2.2).

The update rules are the schedulers of diffusers. Which timesteps are visited is decided here, for few steps are only as
good as their places: eight that are even in time leave seven pixels of a hundred unlike what a hundred steps draw from
the same noise, eight that are nearly even in the logarithm of signal to noise leave three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from brainspade_cli.errors import InputError
from brainspade_cli.networks.configs import ScheduleConfig

# diffusers' words for what a network may predict.
PREDICTION_TYPES = {"noise": "epsilon", "velocity": "v_prediction"}

# How the steps between visited timesteps, in log signal to noise, grow towards the noise: the power of evenly spaced
# numbers that they follow. With 1, all alike, six steps of UniPC draw a narrow distribution a fifth too narrow; with
# this a seventh, as eight of DPM-Solver++ do either way.
STEP_GROWTH = 1.15

# The sampler for any denoiser.
GENERAL = "unipc"

Predict = Callable[[Tensor, Tensor], Tensor]


class NoiseSchedule:
    """How much noise each timestep 0..steps-1 carries: sqrt(beta) runs linearly from its start to its end.

    `alphas_cumprod` (steps,) float64 on the CPU is the fraction of a latent's variance that is signal at each timestep.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        roots = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1 - roots.square(), dim=0)

    @property
    def steps(self) -> int:
        """Number of timesteps."""
        return self.config.steps

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Latents (B, ...) at `timesteps` (B,): sqrt(a) latents + sqrt(1 - a) noise, with a of each item's timestep."""
        keep, add = self._factors(latents, timesteps)
        return keep * latents + add * noise

    def velocity(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Velocity of latents (B, ...) at `timesteps` (B,): sqrt(a) noise - sqrt(1 - a) latents (Salimans 2022)."""
        keep, add = self._factors(latents, timesteps)
        return keep * noise - add * latents

    def _factors(self, latents: Tensor, timesteps: Tensor) -> Tensor:
        """sqrt(a) and sqrt(1 - a) of each item's timestep, (2, B, 1, ...), like the latents in type and place."""
        factors = torch.stack([self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt()])
        # Rounded before it is moved: not every device has float64.
        return factors.to(latents.dtype).to(latents.device)[:, timesteps].view(2, -1, *(1,) * (latents.ndim - 1))


@dataclass(frozen=True)
class Sampler:
    """A row of the table of samplers. `stochastic` samplers draw fresh noise at every step."""

    name: str
    default_steps: int
    stochastic: bool
    scheduler: type
    settings: Mapping[str, Any]


def samplers() -> dict[str, Sampler]:
    """List the samplers that need nothing but a schedule, by name; `GENERAL` is the one for any denoiser.

    "unipc": UniPC of order 2 (Zhao 2023). "dpm++": DPM-Solver++ of order 2 (Lu 2022). "ddim": DDIM without added noise
    (Song 2021). "ancestral": the chain of DDPM (Ho 2020), which draws noise at every step.
    """
    solver = {"solver_order": 2, "final_sigmas_type": "zero", "timestep_spacing": "trailing"}
    unclipped = {"clip_sample": False, "timestep_spacing": "trailing"}
    rows = (
        Sampler("unipc", 6, False, UniPCMultistepScheduler, solver),
        Sampler("dpm++", 8, False, DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", **solver}),
        Sampler("ddim", 80, False, DDIMScheduler, {"set_alpha_to_one": True, **unclipped}),
        Sampler("ancestral", 1000, True, DDPMScheduler, {"variance_type": "fixed_small", **unclipped}),
    )
    return {row.name: row for row in rows}


def sampler_named(name: str) -> Sampler:
    """Look up a sampler by name; raises InputError, naming the ones there are."""
    table = samplers()
    if name not in table:
        raise InputError(f"There is no sampler '{name}'; choose one of {', '.join(table)}.")
    return table[name]


def visited_timesteps(schedule: NoiseSchedule, count: int) -> list[int]:
    """Choose `count` different timesteps of a schedule, rising, from 0 to its last.

    In log signal to noise, the variable that DPM-Solver and UniPC integrate over (Lu 2022, section 3), steps are nearly
    even and grow a little towards the noise. Where they are finer than timesteps, each takes the next that is free. A
    single step starts at the noisiest.
    """
    if count == 1:
        return [schedule.steps - 1]
    way = torch.linspace(0, 1, count, dtype=torch.float64) ** STEP_GROWTH
    return timesteps_along(schedule, way, range(schedule.steps))


def timesteps_along(schedule: NoiseSchedule, way: Tensor, among: Sequence[int]) -> list[int]:
    """Timesteps of `among` (rising), as many as `way` has shares of the way from its first to its last, all different.

    The way is that in log signal to noise, and each share (0..1, float64, rising) takes the nearest that is free.
    """
    signal = schedule.alphas_cumprod[list(among)]
    ratios = (signal / (1 - signal)).log()
    wanted = ratios[0] + (ratios[-1] - ratios[0]) * way
    chosen: list[int] = []
    for step, place in enumerate((ratios[None, :] - wanted[:, None]).abs().argmin(dim=1).tolist()):
        free = max(place, chosen[-1] + 1 if chosen else 0)
        # Those that are still to come need room, too.
        chosen.append(min(free, len(among) - len(way) + step))
    return [among[place] for place in chosen]


def step_count(sampler: str, steps: int | None, most: int) -> int:
    """Steps of a sampler, None being its own number; raises InputError for an unknown one and outside of 1..`most`."""
    row = sampler_named(sampler)
    count = row.default_steps if steps is None else steps
    if not 1 <= count <= most:
        raise InputError(f"A sampler takes 1 to {most} steps, not {count}.")
    return count


def sample_latents(
    predict: Predict,
    noise: Tensor,
    *,
    schedule: NoiseSchedule,
    sampler: str,
    steps: int | None = None,
    generators: Sequence[torch.Generator],
    limit: float | None = None,
) -> Tensor:
    """Latents (B, C, h, w) that the sampler reaches from standard normal `noise` (B, C, h, w), float32.

    `predict(latents, timesteps)` takes latents (B, C, h, w) and timesteps (B,) of integers, and returns what the
    schedule's configuration says: the predicted noise or velocity. `steps` defaults to the sampler's own number.
    `generators` holds one CPU generator a sample; only stochastic samplers draw from them, each sample from its own, so
    that no sample depends on the batch around it.
    `limit` holds the clean latents that a prediction implies within +-limit: where almost all is noise, a small error
    of the prediction is a latent far outside of anything learnt, from which a sampler of few steps does not recover.

    Raises InputError for an unknown sampler or a number of steps outside 1..schedule.steps, ValueError where generators
    and noise differ in number.
    """
    row = sampler_named(sampler)
    count = step_count(sampler, steps, schedule.steps)
    if len(generators) != len(noise):
        raise ValueError(f"{len(noise)} samples need as many generators, not {len(generators)}")
    visited = visited_timesteps(schedule, count)
    # The scheduler gets a schedule of the visited timesteps alone, and walks down all of it.
    signal = schedule.alphas_cumprod[visited]
    betas = 1 - signal / torch.cat([torch.ones(1, dtype=signal.dtype), signal[:-1]])
    scheduler = row.scheduler(
        num_train_timesteps=count,
        trained_betas=betas.tolist(),
        prediction_type=PREDICTION_TYPES[schedule.config.prediction],
        **row.settings,
    )
    scheduler.set_timesteps(count)
    extra = {"generator": list(generators)} if row.stochastic else {}
    latents = noise.float()
    for index in scheduler.timesteps:
        timesteps = torch.full((len(latents),), visited[int(index)], device=noise.device)
        predicted = predict(latents, timesteps).float()
        if limit is not None:
            kept = float(schedule.alphas_cumprod[visited[int(index)]])
            clean = implied_clean(schedule, latents, predicted, kept, limit)
            predicted = _prediction_of(schedule, latents, clean, kept)
        latents = scheduler.step(predicted, index, latents, return_dict=False, **extra)[0]
    return latents


def implied_clean(
    schedule: NoiseSchedule, latents: Tensor, predicted: Tensor, signal: float, limit: float | None
) -> Tensor:
    """Clean latents (B, C, h, w) that a prediction from noisy `latents` implies, held within +-`limit` unless None.

    `signal` is the alpha-bar of their timestep; the prediction is what the schedule's configuration says.
    """
    scale, spread = signal**0.5, (1 - signal) ** 0.5
    if schedule.config.prediction == "noise":
        clean = (latents - spread * predicted) / scale
    else:
        clean = scale * latents - spread * predicted
    return clean if limit is None else clean.clamp(-limit, limit)


def _prediction_of(schedule: NoiseSchedule, latents: Tensor, clean: Tensor, signal: float) -> Tensor:
    """The prediction that implies `clean`."""
    scale, spread = signal**0.5, (1 - signal) ** 0.5
    if schedule.config.prediction == "noise":
        return (latents - scale * clean) / spread
    return (scale * latents - clean) / spread
