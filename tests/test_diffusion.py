"""The samplers must return the distribution that a perfect denoiser describes, and treat every sample by itself."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainspade_cli.cli_sample import sample
from brainspade_cli.diffusion import (
    GENERAL,
    STEP_GROWTH,
    NoiseSchedule,
    sample_latents,
    sampler_named,
    samplers,
    visited_timesteps,
)
from brainspade_cli.errors import InputError
from brainspade_cli.networks.configs import PREDICTIONS, ScheduleConfig
from brainspade_cli.sampling.plan import PairPlan

SCHEDULE = NoiseSchedule(ScheduleConfig())


def perfect_denoiser(mean: float, std: float):
    """Build the prediction of the expected noise in latents whose clean distribution is N(mean, std^2)."""

    def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
        signal = SCHEDULE.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        expected = (1 - signal).sqrt() * (latents - signal.sqrt() * mean) / (signal * std**2 + 1 - signal)
        return expected.float()

    return predict


gaussian_noise = perfect_denoiser(1.5, 0.4)


def velocity_of(predict_noise, schedule):
    """Build the velocity that a prediction of the noise implies."""

    def predict(latents, timesteps):
        noise = predict_noise(latents, timesteps)
        signal = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        clean = (latents - (1 - signal).sqrt() * noise) / signal.sqrt()
        return (signal.sqrt() * noise - (1 - signal).sqrt() * clean).float()

    return predict


def start(batch: int, size: int = 8) -> tuple[Tensor, list[torch.Generator]]:
    generators = [torch.Generator().manual_seed(seed) for seed in range(batch)]
    return torch.cat([torch.randn(1, 3, size, size, generator=g) for g in generators]), generators


def test_schedule_is_linear_in_the_root_of_beta():
    betas = 1 - SCHEDULE.alphas_cumprod[1:] / SCHEDULE.alphas_cumprod[:-1]
    roots = betas.sqrt()
    assert torch.allclose(roots.diff(), roots.diff().mean(), rtol=1e-6)
    assert 1 - SCHEDULE.alphas_cumprod[0].item() == pytest.approx(0.0015)
    # The released code's alpha-bar at the last step.
    assert SCHEDULE.alphas_cumprod[-1].item() == pytest.approx(1.4e-4, rel=0.05)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=5))
@settings(max_examples=30)
def test_add_noise_keeps_unit_variance_and_uses_each_timestep(timesteps):
    one = torch.ones(len(timesteps), 3, 2, 2)
    signal = SCHEDULE.add_noise(one, torch.zeros_like(one), torch.tensor(timesteps))
    noise = SCHEDULE.add_noise(torch.zeros_like(one), one, torch.tensor(timesteps))
    assert torch.allclose(signal.square() + noise.square(), one, atol=1e-5)
    for row, timestep in zip(signal, timesteps, strict=True):
        assert row.mean().item() == pytest.approx(SCHEDULE.alphas_cumprod[timestep].sqrt().item(), rel=1e-5)


@pytest.mark.parametrize(("mean", "std", "off"), [(0.0, 1.0, 0.03), (1.5, 0.4, 0.05), (-2.0, 0.1, 0.15)])
@pytest.mark.parametrize("name", list(samplers()))
def test_samplers_return_the_target_distribution_in_their_default_steps(name, mean, std, off):
    noise, generators = start(batch=8, size=32)
    latents = sample_latents(perfect_denoiser(mean, std), noise, schedule=SCHEDULE, sampler=name, generators=generators)
    # The chain starts from pure noise, not from the 1.2 % of signal that the last timestep keeps, and its last step
    # goes to the expected latent from 4 % noise: narrow targets come out narrower. Even spacing fails this by far.
    assert latents.mean().item() == pytest.approx(mean, abs=0.02 + 0.012 * abs(mean))
    assert latents.std().item() == pytest.approx(std, rel=off)


def distance_to_many_steps(name: str, counts: list[int]) -> list[float]:
    noise, generators = start(batch=2)

    def run(steps: int) -> Tensor:
        return sample_latents(
            gaussian_noise, noise, schedule=SCHEDULE, sampler=name, steps=steps, generators=generators
        )

    limit = run(1000)
    return [(run(count) - limit).abs().mean().item() for count in counts]


def test_halving_the_step_shrinks_the_error_as_the_orders_say():
    for name, factor in (("ddim", 1.7), ("dpm++", 3.0), ("unipc", 3.0)):
        errors = distance_to_many_steps(name, [15, 30, 60])
        assert errors[0] > factor * errors[1] > factor**2 * errors[2], (name, errors)


def test_the_command_and_the_library_choose_the_sampler_alike():
    assert inspect.signature(sample).parameters["sampler"].default == PairPlan().sampler


def test_the_default_sampler_needs_far_fewer_steps_than_ddim():
    assert distance_to_many_steps(GENERAL, [20])[0] < distance_to_many_steps("ddim", [40])[0]


@pytest.mark.parametrize("steps", [3, 61, 80])
def test_ddim_is_its_closed_form(steps):
    """Predict the clean latents, go back to the next timestep's noise along the same prediction; in doubles."""
    noise, generators = start(batch=2)
    latents = noise.double()
    signals = [SCHEDULE.alphas_cumprod[t] for t in visited_timesteps(SCHEDULE, steps)]
    targets = [torch.tensor(1.0, dtype=torch.float64), *signals[:-1]]
    for timestep, now, after in reversed(list(zip(visited_timesteps(SCHEDULE, steps), signals, targets, strict=True))):
        predicted = gaussian_noise(latents, torch.tensor([timestep] * 2)).double()
        clean = (latents - (1 - now).sqrt() * predicted) / now.sqrt()
        latents = after.sqrt() * clean + (1 - after).sqrt() * predicted
    ours = sample_latents(gaussian_noise, noise, schedule=SCHEDULE, sampler="ddim", steps=steps, generators=generators)
    assert torch.allclose(ours.double(), latents, atol=1e-4)


@given(st.integers(1, 1500), st.data())
@settings(max_examples=200)
def test_visited_timesteps_are_different_rise_and_end_at_the_noisiest(total, data):
    count = data.draw(st.integers(1, total))
    visited = visited_timesteps(NoiseSchedule(ScheduleConfig(steps=total)), count)
    assert len(visited) == count
    assert visited == sorted(set(visited))
    assert visited[0] >= 0
    assert visited[-1] == total - 1
    assert count == 1 or visited[0] == 0


def test_few_timesteps_lie_nearly_even_steps_of_log_signal_to_noise_apart_finer_where_little_is_noise():
    signal = SCHEDULE.alphas_cumprod[visited_timesteps(SCHEDULE, 8)]
    steps = (signal / (1 - signal)).log().diff()
    places = torch.linspace(0, 1, 8, dtype=torch.float64) ** STEP_GROWTH
    assert torch.allclose(steps / steps.sum(), places.diff(), atol=0.006)
    assert 1.2 < steps[-1] / steps[0] < 2


@pytest.mark.parametrize("ends", [(0.0, 0.02), (1e-9, 0.02), (0.0015, 1.0), (0.0015, 0.1), (0.02, 0.0015)])
def test_a_schedule_without_noise_or_signal_somewhere_is_refused(ends):
    with pytest.raises(ValueError, match="beta_end"):
        ScheduleConfig(beta_start=ends[0], beta_end=ends[1])


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    "bounds", [(20, 1e-6, 1e-6), (20, 0.49, 0.49), (1000, 1e-6, 0.04), (1, 0.999998, 0.999998)], ids=str
)
@pytest.mark.parametrize("name", list(samplers()))
def test_schedules_at_the_bounds_can_be_sampled_with(name, bounds, prediction):
    schedule = NoiseSchedule(ScheduleConfig(*bounds, prediction=prediction))
    noise, generators = start(batch=1, size=2)
    for steps in (1, 2, 8, 20):
        if steps <= schedule.steps:
            drawn = sample_latents(
                lambda latents, _: 0.5 * latents,
                noise,
                schedule=schedule,
                sampler=name,
                steps=steps,
                generators=generators,
                limit=3.0,
            )
            assert drawn.isfinite().all(), steps


@pytest.mark.parametrize("name", list(samplers()))
@pytest.mark.parametrize("steps", [1, 2, 7, 61, 1000])
def test_the_denoiser_is_asked_at_the_visited_timesteps_from_noisy_to_clean(name, steps):
    seen = []

    def predict(latents, timesteps):
        assert timesteps.shape == (2,)
        assert timesteps.dtype == torch.int64
        seen.append(timesteps.unique().item())
        return gaussian_noise(latents, timesteps)

    noise, generators = start(batch=2, size=2)
    result = sample_latents(predict, noise, schedule=SCHEDULE, sampler=name, steps=steps, generators=generators)
    assert seen == visited_timesteps(SCHEDULE, steps)[::-1]
    assert result.isfinite().all()


@pytest.mark.parametrize("name", list(samplers()))
def test_a_sample_does_not_depend_on_its_batch(name):
    def run(rows):
        noise, generators = start(batch=5)
        return sample_latents(
            gaussian_noise, noise[rows], schedule=SCHEDULE, sampler=name, steps=12, generators=generators[rows]
        )

    together = run(slice(0, 5))
    for index in range(5):
        assert torch.equal(run(slice(index, index + 1))[0], together[index])
    assert torch.equal(run(slice(2, 5)), together[2:])


VELOCITY = NoiseSchedule(ScheduleConfig(prediction="velocity"))


@pytest.mark.parametrize("limit", [None, 2.0])
@pytest.mark.parametrize("name", list(samplers()))
def test_a_velocity_leads_where_the_noise_it_stands_for_leads(name, limit):
    def run(predict, schedule):
        noise, generators = start(batch=2)
        return sample_latents(
            predict, noise, schedule=schedule, sampler=name, steps=20, generators=generators, limit=limit
        )

    by_noise = run(gaussian_noise, SCHEDULE)
    by_velocity = run(velocity_of(gaussian_noise, VELOCITY), VELOCITY)
    assert torch.allclose(by_noise, by_velocity, atol=2e-3)
    assert limit is None or by_velocity.abs().max() <= limit + 1e-4


def test_velocity_and_noisy_latents_give_both_latents_and_noise_back():
    latents, noise = torch.randn(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([0, 10, 500, 900, 999])
    noisy, velocity = (make(latents, noise, timesteps) for make in (VELOCITY.add_noise, VELOCITY.velocity))
    signal = VELOCITY.alphas_cumprod[timesteps].float().view(-1, 1, 1, 1)
    assert torch.allclose(signal.sqrt() * noisy - (1 - signal).sqrt() * velocity, latents, atol=1e-5)
    assert torch.allclose((1 - signal).sqrt() * noisy + signal.sqrt() * velocity, noise, atol=1e-5)


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="score"):
        ScheduleConfig(prediction="score")


def test_only_the_ancestral_sampler_draws_noise():
    for name, row in samplers().items():
        noise, generators = start(batch=2)
        before = [g.get_state() for g in generators]
        sample_latents(gaussian_noise, noise, schedule=SCHEDULE, sampler=name, steps=3, generators=generators)
        moved = [not torch.equal(g.get_state(), state) for g, state in zip(generators, before, strict=True)]
        assert moved == [row.stochastic] * 2


def test_sampling_leaves_the_global_generator_alone():
    noise, generators = start(batch=1)
    before = torch.random.get_rng_state()
    for name in samplers():
        sample_latents(gaussian_noise, noise, schedule=SCHEDULE, sampler=name, steps=3, generators=generators)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_refusals_name_what_is_wrong():
    noise, generators = start(batch=2)
    with pytest.raises(InputError, match=r"no sampler 'heun'.*dpm\+\+"):
        sampler_named("heun")
    for name, steps in (("dpm++", 0), ("ddim", 1001), ("ancestral", -1)):
        with pytest.raises(InputError, match=f"not {steps}"):
            sample_latents(gaussian_noise, noise, schedule=SCHEDULE, sampler=name, steps=steps, generators=generators)
    with pytest.raises(ValueError, match="2 samples need"):
        sample_latents(gaussian_noise, noise, schedule=SCHEDULE, sampler="ddim", generators=generators[:1])


@pytest.mark.parametrize("sampler", list(samplers()))
def test_a_limit_holds_what_a_poor_prediction_implies(sampler):
    schedule = NoiseSchedule(ScheduleConfig())

    def poor(latents, timesteps):
        return 0.5 * latents

    noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    reached = {}
    for limit in (None, 2.0):
        generators = [torch.Generator().manual_seed(index) for index in range(2)]
        reached[limit] = sample_latents(
            poor, noise, schedule=schedule, sampler=sampler, steps=10, generators=generators, limit=limit
        )
    assert reached[None].abs().max() > 10
    assert reached[2.0].abs().max() <= 2.0 + 1e-3
