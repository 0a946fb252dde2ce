"""The label denoiser: what it is told must reach its prediction, and what it is not told must not."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from monai.networks.blocks.selfattention import SABlock
from torch import Tensor
from torch.nn import functional as F

from brainspade_cli.networks.label_denoiser import ATLAS_HEIGHTS, CONDITIONS, ConditionEmbedding, LabelDenoiser
from brainspade_cli.presets import preset

TINY = preset("tiny").denoiser


def build(*, trained: bool) -> LabelDenoiser:
    """Build the tiny denoiser; `trained` moves every parameter off its start, zero layers and null vector included."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LabelDenoiser(TINY).eval()
    if trained:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def latents(batch: int) -> Tensor:
    return torch.randn(batch, 3, 48, 64, generator=torch.Generator().manual_seed(2))


CONDITION_ROWS = torch.tensor([[0.2, 0.0, 0.0], [0.6, 1.0, 0.1], [0.9, 1.0, 0.5]])
TIMESTEPS = torch.tensor([0, 500, 999])


@torch.no_grad()
def test_prediction_has_the_shape_of_the_latents():
    assert build(trained=True)(latents(3), TIMESTEPS, CONDITION_ROWS).shape == (3, 3, 48, 64)


@pytest.mark.parametrize("column", range(CONDITIONS))
@torch.no_grad()
def test_every_condition_reaches_the_prediction(column):
    network = build(trained=True)
    changed = CONDITION_ROWS.clone()
    changed[:, column] += 0.05
    difference = network(latents(3), TIMESTEPS, changed) - network(latents(3), TIMESTEPS, CONDITION_ROWS)
    assert (difference.abs().amax(dim=(1, 2, 3)) > 1e-4).all()


@torch.no_grad()
def test_the_timestep_reaches_the_prediction():
    network = build(trained=True)
    same = latents(1).expand(3, -1, -1, -1)
    rows = CONDITION_ROWS[:1].expand(3, -1)
    predicted = network(same, TIMESTEPS, rows)
    assert (predicted[0] - predicted[1]).abs().max() > 1e-3
    assert (predicted[1] - predicted[2]).abs().max() > 1e-3


@torch.no_grad()
def test_rows_not_kept_forget_their_conditions_and_rows_kept_do_not():
    network = build(trained=True)
    keep = torch.tensor([True, False, False])
    mixed = network(latents(3), TIMESTEPS, CONDITION_ROWS, keep)
    other = network(latents(3), TIMESTEPS, 1 - CONDITION_ROWS, keep)
    full = network(latents(3), TIMESTEPS, CONDITION_ROWS)
    assert torch.equal(mixed[1:], other[1:])
    assert (mixed[1:] - full[1:]).abs().max() > 1e-3
    assert torch.equal(mixed[0], full[0])
    assert torch.equal(network(latents(3), TIMESTEPS, CONDITION_ROWS, torch.ones(3, dtype=torch.bool)), full)


@torch.no_grad()
def test_training_starts_from_the_unconditional_network():
    embedding = ConditionEmbedding(16)
    assert not embedding(CONDITION_ROWS, None).any()
    assert not embedding(CONDITION_ROWS, torch.tensor([False, True, False])).any()


def test_conditions_and_null_vector_learn():
    network = build(trained=True)
    network(latents(3), TIMESTEPS, CONDITION_ROWS, torch.tensor([True, False, True])).square().mean().backward()
    for name in ("hidden.weight", "out.weight", "null"):
        assert network.conditions.get_parameter(name).grad.abs().max() > 0, name


@torch.no_grad()
def test_nearby_loads_are_told_apart_but_embedded_nearby():
    """Loads of 1 % and 2 % of the brain are different tumours; the embedding must resolve them."""
    network = build(trained=True)
    rows = torch.tensor([[0.5, 1.0, 0.01], [0.5, 1.0, 0.02], [0.5, 1.0, 0.3]])
    embedded = network.conditions(rows, None)
    near, far = (embedded[0] - embedded[1]).norm(), (embedded[0] - embedded[2]).norm()
    assert 0.02 * far < near < far


def with_atlas() -> LabelDenoiser:
    """A denoiser whose atlas differs from height to height, and whose prediction shows it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LabelDenoiser(replace(TINY, atlas=True)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        # What is told in other ways must not tell heights apart here.
        network.conditions.out.weight.zero_()
        network.atlas.normal_(generator=generator)
    return network


@torch.no_grad()
def test_a_denoiser_sees_the_atlas_of_its_height_alone() -> None:
    network = with_atlas()
    same_noise = latents(1).expand(2, -1, -1, -1)
    told = torch.tensor([[0.2, 0.0, 0.0], [0.8, 0.0, 0.0]])
    times = torch.tensor([500, 500])
    low, high = network(same_noise, times, told)
    assert not torch.allclose(low, high, atol=1e-3)
    network.atlas[ATLAS_HEIGHTS // 2 :] += 1
    still, moved = network(same_noise, times, told)
    torch.testing.assert_close(still, low)
    assert not torch.allclose(moved, high, atol=1e-3)


@torch.no_grad()
def test_an_untold_denoiser_is_shown_no_atlas() -> None:
    network = with_atlas()
    untold = torch.zeros(3, dtype=torch.bool)
    before = network(latents(3), TIMESTEPS, CONDITION_ROWS, untold)
    network.atlas.mul_(5)
    torch.testing.assert_close(network(latents(3), TIMESTEPS, CONDITION_ROWS, untold), before)


@torch.no_grad()
@pytest.mark.parametrize("height", [-0.1, 0.0, 1.0, 1.2])
def test_heights_at_the_ends_and_beyond_have_an_atlas(height: float) -> None:
    predicted = with_atlas()(latents(1), torch.tensor([3]), torch.tensor([[height, 0.0, 0.0]]))
    assert bool(torch.isfinite(predicted).all())


@pytest.mark.parametrize("copied", [False, True])
def test_fast_attention_says_what_the_plain_one_says(copied, monkeypatch):
    """Also in a copy, such as the moving average of a training. With gradients, the plain one is faster on a CPU."""
    network = deepcopy(build(trained=True)) if copied else build(trained=True)
    calls, fast = [], F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda **inputs: calls.append(1) or fast(**inputs))
    with torch.no_grad():
        quick = network(latents(3), TIMESTEPS, CONDITION_ROWS)
    assert len(calls) == sum(isinstance(block, SABlock) for block in network.modules()) > 0
    slow = network(latents(3), TIMESTEPS, CONDITION_ROWS)
    assert slow.requires_grad
    assert len(calls) == sum(isinstance(block, SABlock) for block in network.modules())
    torch.testing.assert_close(quick, slow.detach(), rtol=1e-4, atol=1e-4)


# Single precision to the last bit on some processors; others add up the last rows of a matrix in another order.
@pytest.mark.parametrize(("precision", "off"), [(torch.float32, 5e-6), (torch.bfloat16, 0.0)])
@torch.no_grad()
def test_a_prediction_does_not_depend_on_its_neighbours(precision, off):
    network = build(trained=True)
    network.unet.to(precision)
    order = torch.tensor([2, 0, 1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        straight = network(latents(3), TIMESTEPS, CONDITION_ROWS)
        shuffled = network(latents(3)[order], TIMESTEPS[order], CONDITION_ROWS[order])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(shuffled, straight[order], atol=off, rtol=0)
