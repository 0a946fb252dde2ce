"""A fitted sampler must be nearer to many steps than general ones of as many evaluations, on noise it never saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainspade_cli.bundle_config import Solver
from brainspade_cli.diffusion import NoiseSchedule, sample_latents
from brainspade_cli.fitted_sampler import STEPS, Draws, fewest_evaluations, fit_solver, follow, sample_fitted
from brainspade_cli.networks.configs import ScheduleConfig

VELOCITY = NoiseSchedule(ScheduleConfig(prediction="velocity"))
NOISE = NoiseSchedule(ScheduleConfig(prediction="noise"))
TISSUES, SPREAD = (-1.0, 0.3, 1.4), 0.15


def clean_of_tissues(
    latents: Tensor, signal: Tensor, tissues: Sequence[float] = TISSUES, spread: float = SPREAD
) -> Tensor:
    """The expected clean latents where each is one of some tissues, give or take `spread`."""
    total = signal * spread**2 + 1 - signal
    means = torch.tensor(tissues, dtype=torch.float64)
    apart = latents.double()[..., None] - signal.sqrt()[..., None] * means
    tissue = (-apart.square() / (2 * total[..., None])).softmax(dim=-1)
    within = means + signal.sqrt()[..., None] * spread**2 * apart / total[..., None]
    return (tissue * within).sum(dim=-1)


def denoiser_of(schedule: NoiseSchedule, tissues: Sequence[float] = TISSUES, spread: float = SPREAD):
    """What a perfect denoiser of such latents predicts under a schedule."""

    def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
        signal = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        clean = clean_of_tissues(latents, signal, tissues, spread)
        noise = (latents - signal.sqrt() * clean) / (1 - signal).sqrt()
        wanted = noise if schedule.config.prediction == "noise" else signal.sqrt() * noise - (1 - signal).sqrt() * clean
        return wanted.float()

    return predict


def noise(seed: int, batch: int = 4) -> Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def fit(schedule: NoiseSchedule = VELOCITY, limit: float | None = None, steps: int = STEPS) -> Solver:
    draws = Draws(denoiser_of(schedule), noise(0))
    return fit_solver(draws, follow(draws, schedule, limit), schedule, limit, steps)


def unipc(start: Tensor, steps: int) -> Tensor:
    unused = [torch.Generator()] * len(start)
    return sample_latents(
        denoiser_of(VELOCITY), start, schedule=VELOCITY, sampler="unipc", steps=steps, generators=unused
    )


def test_four_evaluations_come_nearer_than_six_of_the_general_sampler() -> None:
    solver = fit()
    start = noise(1)
    many = unipc(start, 200)
    fitted = sample_fitted(denoiser_of(VELOCITY), start, schedule=VELOCITY, solver=solver)
    assert solver.steps == STEPS == 4
    assert (fitted - many).square().mean() < 0.7 * (unipc(start, 6) - many).square().mean()
    # Least squares shrinks what it cannot tell; not by much.
    assert fitted.std().item() == pytest.approx(many.std().item(), rel=0.03)


def test_more_evaluations_come_nearer() -> None:
    start = noise(2)
    many = unipc(start, 200)
    off = []
    for steps in (2, 4, 8):
        solver = fit(steps=steps)
        drawn = sample_fitted(denoiser_of(VELOCITY), start, schedule=VELOCITY, solver=solver)
        off.append((drawn - many).square().mean().item())
    assert off[0] > 2 * off[1] > 4 * off[2]


@pytest.mark.parametrize(("tissues", "spread", "steps"), [(TISSUES, SPREAD, 4), ((-1.0, 1.0), 0.1, 6)])
def test_a_denoiser_gets_as_many_evaluations_as_it_needs(tissues: tuple[float, ...], spread: float, steps: int) -> None:
    """Two sharp tissues part late and fast: six of the general sampler do better there than four, five fitted ones."""
    predict = denoiser_of(VELOCITY, tissues, spread)
    solver = fewest_evaluations(Draws(predict, noise(0)), Draws(predict, noise(1)), schedule=VELOCITY)
    assert solver is not None
    assert solver.steps == steps


def test_a_fit_that_does_badly_on_other_draws_is_not_taken() -> None:
    """Fitted to one denoiser and judged with another."""
    fitted, judged = denoiser_of(VELOCITY, (0.0,), 1.5), denoiser_of(VELOCITY)
    assert fewest_evaluations(Draws(fitted, noise(0)), Draws(judged, noise(1)), schedule=VELOCITY) is None


def test_it_does_not_matter_what_the_denoiser_predicts() -> None:
    by_velocity = fit()
    by_noise = fit(NOISE)
    assert by_velocity.timesteps == by_noise.timesteps
    for one, other in zip(by_velocity.weights, by_noise.weights, strict=True):
        assert one == pytest.approx(other, abs=0.01)


def test_a_sample_does_not_depend_on_the_batch_around_it() -> None:
    solver = fit()
    start = noise(3)
    together = sample_fitted(denoiser_of(VELOCITY), start, schedule=VELOCITY, solver=solver)
    alone = [sample_fitted(denoiser_of(VELOCITY), start[k : k + 1], schedule=VELOCITY, solver=solver) for k in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


def test_what_a_prediction_implies_is_held_within_the_limit() -> None:
    solver = fit()

    def far_off(latents: Tensor, timesteps: Tensor) -> Tensor:
        return torch.full_like(latents, -1e6)

    start = noise(4)
    free = sample_fitted(far_off, start, schedule=VELOCITY, solver=solver)
    held = sample_fitted(far_off, start, schedule=VELOCITY, solver=solver, limit=2.0)
    assert free.abs().min() > 1e4
    most = max(sum(map(abs, row)) for row in solver.weights) ** STEPS * start.abs().max()
    assert held.abs().max() < most < free.abs().max()


def test_a_fit_holds_to_the_limit_as_sampling_does() -> None:
    """Tissues beyond the limit are never reached, neither by the reference nor by what is weighed."""
    start = noise(5)
    solver = fit(limit=0.8)
    unused = [torch.Generator()] * len(start)
    many = sample_latents(
        denoiser_of(VELOCITY), start, schedule=VELOCITY, sampler="unipc", steps=200, generators=unused, limit=0.8
    )
    drawn = sample_fitted(denoiser_of(VELOCITY), start, schedule=VELOCITY, solver=solver, limit=0.8)
    free = fit()
    by_other = sample_fitted(denoiser_of(VELOCITY), start, schedule=VELOCITY, solver=free, limit=0.8)
    assert (drawn - many).square().mean() < 0.9 * (by_other - many).square().mean()


def test_evaluations_are_spent_where_the_latents_are_made() -> None:
    """None where there is hardly any noise left, nor where there is hardly anything else; about evenly between."""
    solver = fit()
    signal = VELOCITY.alphas_cumprod[list(solver.timesteps)]
    ratios = (signal / (1 - signal)).log()
    assert -8.5 < ratios[0] < -7
    assert 1 < ratios[-1] < 2.5
    steps = ratios.diff()
    assert steps.max() < 1.5 * steps.min()


@given(st.integers(1, 60), st.integers(1, 12))
@settings(max_examples=10)
def test_timesteps_fall_and_are_those_of_the_schedule(total: int, steps: int) -> None:
    schedule = NoiseSchedule(replace(VELOCITY.config, steps=total))
    solver = fit(schedule, steps=steps)
    assert list(solver.timesteps) == sorted(set(solver.timesteps), reverse=True)
    assert solver.steps == min(steps, total, 48)
    assert 0 <= solver.timesteps[-1] <= solver.timesteps[0] < total
    assert all(math.isfinite(weight) for row in solver.weights for weight in row)
