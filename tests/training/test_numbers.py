"""Nothing that is no finite number gets into a checkpoint, by an optimiser's step, a buffer or a parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from brainspade_cli.errors import TrainingError
from brainspade_cli.training.loop import Stage
from tests.training.toy import run_toy, toy_stage

BAD = 3


def _by_the_rate(stage: Stage) -> Stage:
    """The step of an optimiser spoils parameters, though loss and gradients of it were fine."""
    first, *rest = stage.updates
    spoilt = replace(first, rate=lambda step: math.inf if step == BAD else 0.01)
    return replace(stage, updates=(spoilt, *rest))


def _in(stage: Stage, spoil: Callable[[nn.Module], None]) -> Stage:
    """`spoil` is called on the painter at step BAD, when its own update is over."""
    first, last = stage.updates

    def loss(batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        found = last.loss(batch, step)
        if step == BAD:
            spoil(stage.modules["painter"])
        return found

    return replace(stage, updates=(first, replace(last, loss=loss)))


def _by_a_buffer(stage: Stage) -> Stage:
    """A running variance overflows, which no loss in training mode ever shows."""
    return _in(stage, lambda painter: next(painter[1].buffers()).fill_(math.inf))


def _by_a_parameter(stage: Stage) -> Stage:
    def spoil(painter: nn.Module) -> None:
        with torch.no_grad():
            painter[0].bias[0] = math.nan

    return _in(stage, spoil)


@pytest.mark.parametrize("spoil", [_by_the_rate, _by_a_buffer, _by_a_parameter])
@pytest.mark.parametrize("last", [False, True], ids=["amid", "at the last step"])
def test_what_is_no_number_stops_a_training_before_it_is_saved(
    tmp_path: Path, spoil: Callable[[Stage], Stage], last: bool
) -> None:
    steps = BAD + 1 if last else 8
    with pytest.raises(TrainingError, match=rf"step {BAD}.*resume") as caught:
        run_toy(tmp_path, spoil(toy_stage(steps)))
    assert "\n" not in str(caught.value)
    saved = sorted(tmp_path.glob("checkpoint-*"))
    assert saved[-1].name == f"checkpoint-{BAD:08d}"
    for folder in saved:
        for name, value in load_file(folder / "tensors.safetensors").items():
            assert torch.isfinite(value).all(), name
    # The last good one is gone on with.
    assert run_toy(tmp_path, toy_stage(steps))
