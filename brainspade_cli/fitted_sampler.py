"""A sampler fitted to its denoiser: it comes as near to many evaluations as UniPC in six does, in fewer.

Solvers for any denoiser weigh what was predicted by a series expansion, and end with the last prediction as it is. Here
least squares finds the weights, on latents that the same denoiser takes all the way in many steps (Shaul 2024, "Bespoke
non-stationary solvers", learns such weights and times by gradient descent).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainspade_cli.bundle_config import Solver
from brainspade_cli.diffusion import (
    GENERAL,
    NoiseSchedule,
    Predict,
    implied_clean,
    sample_latents,
    samplers,
    timesteps_along,
)

# Evaluations a label, of the starter weights' denoisers; others may need more.
STEPS = 4
# Evaluations of the trajectories that it is fitted to: 20 leave half a pixel of a hundred unlike a thousand's.
REFERENCE_STEPS = 48
# Where timesteps lie on the way in log signal to noise, counted in steps: the last evaluation so far from the clean
# end, the first so far from pure noise, and the steps grow towards the noise. Of ten such places for four evaluations
# of the starter weights' denoisers these left fewest pixels unlike the reference's: 3.1 of a hundred, patients 4.9.
CLEAN_END = 1.8
NOISY_END = 0.45
GROWTH = 1.1
# Of the mean square of what is weighed: nearly parallel predictions would else get weights that cancel.
RIDGE = 1e-5


@dataclass(frozen=True)
class Draws:
    """Standard normal `noise` (B, C, h, w), and the denoiser that is told what each of these latents is to be."""

    predict: Predict
    noise: Tensor


def sample_fitted(
    predict: Predict, noise: Tensor, *, schedule: NoiseSchedule, solver: Solver, limit: float | None = None
) -> Tensor:
    """Clean latents (B, C, h, w) that `solver` reaches from standard normal `noise` (B, C, h, w), float32.

    `predict` and `limit` are as in `diffusion.sample_latents`. No sample depends on the batch around it.
    """
    latents = noise.float()
    implied: list[Tensor] = []
    for timestep, weights in zip(solver.timesteps, solver.weights, strict=True):
        implied.append(_evaluated(predict, latents, timestep, schedule, limit))
        latents = _weighed([latents, *implied], weights)
    return latents


def fewest_evaluations(
    fitted: Draws, judged: Draws, *, schedule: NoiseSchedule, limit: float | None = None
) -> Solver | None:
    """The solver of fewest evaluations, `STEPS` or more, that is fitted to one lot of draws and does well on another.

    Well is nearer (mean square over latents) to `REFERENCE_STEPS` evaluations of UniPC than UniPC comes in its own
    number. None where no solver of up to that number does.
    """
    usual = min(samplers()[GENERAL].default_steps, schedule.steps)
    many = _general(judged, REFERENCE_STEPS, schedule, limit)
    to_beat = _apart(_general(judged, usual, schedule, limit), many)
    reference = follow(fitted, schedule, limit)
    for steps in range(min(STEPS, usual), usual + 1):
        solver = fit_solver(fitted, reference, schedule, limit, steps)
        drawn = sample_fitted(judged.predict, judged.noise, schedule=schedule, solver=solver, limit=limit)
        if _apart(drawn, many) < to_beat:
            return solver
    return None


@dataclass(frozen=True)
class Reference:
    """Where `REFERENCE_STEPS` evaluations pass (latents by timestep, noisiest first) and end, all (B, C, h, w)."""

    passed: Mapping[int, Tensor]
    clean: Tensor


def follow(draws: Draws, schedule: NoiseSchedule, limit: float | None) -> Reference:
    """Draw clean latents from `draws.noise` in `REFERENCE_STEPS` evaluations of UniPC, and note where they pass."""
    passed: dict[int, Tensor] = {}

    def watched(latents: Tensor, timesteps: Tensor) -> Tensor:
        passed[int(timesteps[0])] = latents
        return draws.predict(latents, timesteps)

    return Reference(passed, _general(Draws(watched, draws.noise), REFERENCE_STEPS, schedule, limit))


def fit_solver(draws: Draws, reference: Reference, schedule: NoiseSchedule, limit: float | None, steps: int) -> Solver:
    """The solver of `steps` evaluations that comes nearest to the `reference` of these draws.

    Timesteps lie nearly even in log signal to noise. Evaluation by evaluation, the weights are those that bring all
    latents nearest, in least squares, to where the reference is at the next timestep, and after the last evaluation to
    its clean ones. A schedule of fewer timesteps than `steps` gets one evaluation at each.
    """
    number = min(steps, len(reference.passed))
    way = (torch.arange(number, dtype=torch.float64) + CLEAN_END) / (number - 1 + CLEAN_END + NOISY_END)
    timesteps = timesteps_along(schedule, way**GROWTH, sorted(reference.passed))[::-1]
    targets = [*(reference.passed[timestep] for timestep in timesteps[1:]), reference.clean]
    rows: list[tuple[float, ...]] = []
    latents = draws.noise.float()
    implied: list[Tensor] = []
    for timestep, target in zip(timesteps, targets, strict=True):
        implied.append(_evaluated(draws.predict, latents, timestep, schedule, limit))
        known = [latents, *implied]
        rows.append(_least_squares(known, target))
        latents = _weighed(known, rows[-1])
    return Solver(tuple(timesteps), tuple(rows))


def _general(draws: Draws, steps: int, schedule: NoiseSchedule, limit: float | None) -> Tensor:
    """Clean latents (B, C, h, w) of the general sampler, in at most as many steps as the schedule has."""
    return sample_latents(
        draws.predict,
        draws.noise,
        schedule=schedule,
        sampler=GENERAL,
        steps=min(steps, schedule.steps),
        generators=[torch.Generator()] * len(draws.noise),  # it draws none
        limit=limit,
    )


def _apart(latents: Tensor, others: Tensor) -> float:
    return float((latents - others).square().mean())


def _evaluated(
    predict: Predict, latents: Tensor, timestep: int, schedule: NoiseSchedule, limit: float | None
) -> Tensor:
    """The clean latents that the denoiser sees in `latents` (B, C, h, w) at a timestep."""
    predicted = predict(latents, torch.full((len(latents),), timestep, device=latents.device)).float()
    return implied_clean(schedule, latents, predicted, float(schedule.alphas_cumprod[timestep]), limit)


def _weighed(known: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = weights[0] * known[0]
    for weight, one in zip(weights[1:], known[1:], strict=True):
        total = total + weight * one
    return total


def _least_squares(known: Sequence[Tensor], target: Tensor) -> tuple[float, ...]:
    """Weights (len(known),) of the sum of `known` that is nearest to `target`, in doubles; six digits are kept."""
    # Moved before they are made doubles: not every device has float64.
    columns = torch.stack([one.cpu().double().flatten() for one in known], dim=1)
    squares = columns.T @ columns
    ridge = RIDGE * squares.diagonal().mean() * torch.eye(len(known), dtype=columns.dtype)
    solved = torch.linalg.solve(squares + ridge, columns.T @ target.cpu().double().flatten())
    return tuple(round(weight, 6) for weight in solved.tolist())
