"""The losses against their equations: closed forms, independent implementations, and where gradients may flow."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from brainspade_cli.training import losses


def normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(scores: list[float], seed: int = 0) -> list[list[torch.Tensor]]:
    """Two intermediate features and constant scores a scale, as the multi-scale discriminator returns them."""
    return [
        [normal((2, 3, 4, 4), seed + index), normal((2, 5, 2, 2), seed + 10 + index), torch.full((2, 1, 3, 3), score)]
        for index, score in enumerate(scores)
    ]


def test_kl_is_that_of_torch_with_each_reduction():
    mean, log_variance = normal((4, 3, 5, 6), 0), normal((4, 3, 5, 6), 1)
    exact = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.tensor(0.0), torch.tensor(1.0)))
    assert losses.spatial_kl(mean, log_variance).item() == pytest.approx(exact.sum().item() / 4, rel=1e-5)
    flat = (mean.flatten(1), log_variance.flatten(1))
    assert losses.style_kl(*flat).item() == pytest.approx(exact.sum().item(), rel=1e-5)


@given(st.floats(-3, 3), st.floats(-5, 5))
@settings(max_examples=50)
def test_kl_is_zero_at_the_prior_and_positive_elsewhere(mean, log_variance):
    value = losses.spatial_kl(torch.tensor([[mean]]), torch.tensor([[log_variance]])).item()
    assert value >= -1e-6
    if abs(mean) > 0.1 or abs(log_variance) > 0.1:
        assert value > 1e-3
    assert losses.style_kl(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0


def test_hinge_of_the_discriminator_stops_caring_beyond_the_margin():
    assert losses.hinge_discriminator_loss(features([1.0, 5.0]), features([-1.0, -9.0])).item() == 0
    assert losses.hinge_discriminator_loss(features([0.0, 0.0]), features([0.0, 0.0])).item() == pytest.approx(1.0)
    # Scale 1: real 0.5 below the margin, fake 2 above it; scale 2: nothing. Halved, mean over scales.
    value = losses.hinge_discriminator_loss(features([0.5, 1.0]), features([1.0, -1.0]))
    assert value.item() == pytest.approx(0.5 * (0.5 + 2.0) / 2)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=3))
@settings(max_examples=30)
def test_hinge_of_the_generator_is_minus_the_mean_and_never_saturates(scores):
    fake = [[torch.full((2, 1, 3, 3), score, requires_grad=True)] for score in scores]
    value = losses.hinge_generator_loss(fake)
    assert value.item() == pytest.approx(-sum(scores) / len(scores), rel=1e-4, abs=1e-4)
    value.backward()
    for (score,) in fake:
        assert torch.allclose(score.grad, torch.tensor(-1 / (18 * len(scores))), rtol=1e-4)


def test_feature_matching_sums_layers_averages_scales_and_leaves_scores_out():
    real, fake = features([0.0, 0.0]), features([7.0, -7.0])
    assert losses.feature_matching_loss(real, fake).item() == 0
    fake[0][0] = fake[0][0] + 0.5
    fake[0][1] = fake[0][1] - 1.0
    assert losses.feature_matching_loss(real, fake).item() == pytest.approx((0.5 + 1.0) / 2)


def test_feature_matching_moves_the_fake_alone():
    real = [[normal((1, 2, 3, 3), 0).requires_grad_(), torch.zeros(1, 1, 2, 2)]]
    fake = [[normal((1, 2, 3, 3), 1).requires_grad_(), torch.zeros(1, 1, 2, 2)]]
    losses.feature_matching_loss(real, fake).backward()
    assert real[0][0].grad is None
    assert fake[0][0].grad.abs().max() > 0


@given(st.floats(0.1, 10), st.integers(0, 100))
@settings(max_examples=30)
def test_contrastive_loss_sees_direction_alone(scale, seed):
    code = normal((3, 8), seed)
    assert losses.contrastive_loss(code, scale * code).item() == pytest.approx(0, abs=1e-5)
    assert losses.contrastive_loss(code, -scale * code).item() == pytest.approx(2, abs=1e-5)


def test_contrastive_loss_is_one_for_unrelated_codes_and_falls_with_descent():
    first, second = torch.eye(2)[:1], torch.eye(2)[1:].requires_grad_()
    before = losses.contrastive_loss(first, second)
    assert before.item() == pytest.approx(1)
    before.backward()
    assert losses.contrastive_loss(first, second - 0.1 * second.grad) < before


def test_modality_and_dataset_losses_are_against_the_true_classes():
    modality_logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    dataset_logits = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    modality, dataset = losses.modality_dataset_losses(
        modality_logits, dataset_logits, torch.tensor([0, 2]), torch.tensor([1, 1])
    )
    assert modality.item() == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2, rel=1e-5)
    assert dataset.item() == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2, rel=1e-5)


def test_reconstruction_losses():
    maps = torch.softmax(normal((2, 8, 4, 4), 3), dim=1)
    assert losses.map_l1(torch.log(maps), maps).item() == pytest.approx(0, abs=1e-6)
    # All probability in the wrong channel: two of eight channels are off by 1.
    logits = torch.zeros(1, 8, 1, 1)
    logits[:, 3] = 100.0
    wrong = torch.zeros(1, 8, 1, 1)
    wrong[:, 4] = 1.0
    assert losses.map_l1(logits, wrong).item() == pytest.approx(2 / 8)
    assert losses.image_l1(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), -3.0)).item() == 3
    assert losses.noise_l1(torch.ones(2, 3), torch.zeros(2, 3)).item() == 1
    assert losses.velocity_mse(3 * torch.ones(2, 3), torch.ones(2, 3)).item() == 4


def test_least_squares_losses_pull_scores_to_their_targets():
    zeros, ones = torch.zeros(2, 1, 3, 3), torch.ones(2, 1, 3, 3)
    assert losses.least_squares_discriminator_loss(ones, zeros).item() == 0
    assert losses.least_squares_discriminator_loss(zeros, ones).item() == 1
    assert losses.least_squares_generator_loss(ones).item() == 0
    assert losses.least_squares_generator_loss(3 * ones).item() == 4


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(1, 1000), st.data())
@settings(max_examples=50)
def test_ramp_runs_from_end_to_end_and_stays_between(first, second, steps, data):
    step = data.draw(st.integers(0, steps - 1))
    assert losses.ramp((first, second), 0, steps) == first
    assert losses.ramp((first, second), steps + 5, steps) == pytest.approx(second, abs=1e-9)
    value = losses.ramp((first, second), step, steps)
    assert min(first, second) - 1e-9 <= value <= max(first, second) + 1e-9
    if steps > 1:
        assert losses.ramp((first, second), steps - 1, steps) == pytest.approx(second, abs=1e-9)


def test_half_precision_inputs_give_single_precision_losses():
    code, scores = normal((2, 8), 4).bfloat16(), features([0.3])
    halves = [[feature.bfloat16() for feature in scale] for scale in scores]
    labels = torch.tensor([0, 1])
    values = [
        losses.spatial_kl(code, code),
        losses.style_kl(code, code),
        losses.hinge_discriminator_loss(halves, halves),
        losses.hinge_generator_loss(halves),
        losses.feature_matching_loss(halves, halves),
        losses.contrastive_loss(code, code),
        *losses.modality_dataset_losses(code, code, labels, labels),
        losses.map_l1(code, code),
        losses.image_l1(code, code),
        losses.noise_l1(code, code),
        losses.least_squares_discriminator_loss(code, code),
        losses.least_squares_generator_loss(code),
    ]
    assert {value.dtype for value in values} == {torch.float32}
