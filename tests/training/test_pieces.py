"""Batches that the device's memory cannot hold whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from brainspade_cli.console import Reporter
from brainspade_cli.errors import TrainingError
from brainspade_cli.training.loop import Batch, Stage, train
from brainspade_cli.training.machine import open_machine
from brainspade_cli.training.pieces import Pieces, add_gradients
from tests.training.toy import BATCH, toy_stage


class Listener(Reporter):
    """A reporter that keeps its warnings."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.heard: list[str] = []

    def warn(self, message: str) -> None:
        self.heard.append(message)


def with_memory_for(count: int, stage: Stage, update: int) -> Stage:
    """The stage on a device whose memory cannot hold more than `count` examples in one of its updates."""

    def limited(loss: Callable[[Batch, int], Any]) -> Callable[[Batch, int], Any]:
        def compute(batch: Batch, step: int) -> Any:
            value = loss(batch, step)
            if len(batch["x"]) > count:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return value

        return compute

    changed = [
        replace(each, loss=limited(each.loss)) if number == update else each
        for number, each in enumerate(stage.updates)
    ]
    return replace(stage, updates=tuple(changed))


def trained(folder: Path, stage: Stage, reporter: Reporter) -> dict[str, Tensor]:
    networks = train(stage, folder, open_machine("cpu", "fp32"), seed=5, reporter=reporter)
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("update", [0, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_a_training_out_of_memory_goes_on_in_pieces_with_the_same_result(
    tmp_path: Path, count: int, update: int
) -> None:
    whole = trained(tmp_path / "whole", toy_stage(5, by_example=True), Reporter(quiet=True))
    listener = Listener()
    stage = with_memory_for(count, toy_stage(5, by_example=True), update)
    pieces = trained(tmp_path / "pieces", stage, listener)
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, atol=1e-5, rtol=1e-4)
    # Found once, and kept for all steps that follow.
    assert len(listener.heard) == {3: 1, 1: 2}[count]
    assert "out of memory" in listener.heard[-1]


def test_a_device_that_cannot_hold_one_example_is_said_to_be_too_small(tmp_path: Path) -> None:
    stage = with_memory_for(0, toy_stage(2, by_example=True), 0)
    with pytest.raises(TrainingError, match="smaller preset"):
        trained(tmp_path, stage, Listener())


@given(size=st.integers(1, 9), halvings=st.integers(0, 4))
def test_pieces_hold_every_example_once_and_in_order(size: int, halvings: int) -> None:
    pieces = Pieces(lambda text: None)
    parts = pieces.cut({"x": torch.arange(size)})
    for _ in range(halvings):
        if max(len(part["x"]) for part in parts) > 1:
            parts = pieces.finer(parts)
    assert torch.cat([part["x"] for part in parts]).tolist() == list(range(size))
    again = pieces.cut({"x": torch.arange(size)})
    assert max(len(part["x"]) for part in again) <= max(len(part["x"]) for part in parts)


@given(each=st.integers(1, BATCH))
def test_gradients_and_terms_do_not_depend_on_the_cut(each: int) -> None:
    network = nn.Linear(3, 1)
    x = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(0))

    def loss(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        value = network(batch["x"]).square().mean()
        return value, {"fit": value, "size": batch["x"].abs().mean()}

    def result(parts: list[Batch]) -> tuple[dict[str, float], Tensor]:
        network.zero_grad()
        terms = add_gradients(loss, parts, 0, nullcontext)  # type: ignore[arg-type]
        assert network.weight.grad is not None
        return {name: value.item() for name, value in terms.items()}, network.weight.grad.clone()

    whole, cut = result([{"x": x}]), result([{"x": part} for part in x.split(each)])
    assert cut[0] == pytest.approx(whole[0], rel=1e-5)
    torch.testing.assert_close(cut[1], whole[1])
