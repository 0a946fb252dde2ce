"""A toy stage for tests of the loop: two small networks against each other, with dropout, and a script to run it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from brainspade_cli.console import Reporter
from brainspade_cli.peers import TRAININGS, leave
from brainspade_cli.training.loop import Batch, Plan, Stage, Update, train
from brainspade_cli.training.machine import open_machine, seeded

BATCH = 4


def toy_stage(steps: int, *, by_example: bool = False, spoil: Callable[[int, Tensor], Tensor] | None = None) -> Stage:
    """A regression and a critic of it. `spoil(step, loss)` may change the first loss.

    With `by_example`, no layer mixes the examples of a batch or draws random numbers.
    """
    with seeded(0, torch.device("cpu")):
        between = [nn.Identity()] if by_example else [nn.BatchNorm1d(8), nn.Dropout(0.2)]
        painter = nn.Sequential(nn.Linear(3, 8), *between, nn.Tanh(), nn.Linear(8, 1))
        critic = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def draw(generator: torch.Generator) -> Plan:
        return {"x": torch.randn(BATCH, 3, generator=generator)}

    def load(plan: Plan) -> Batch:
        return {"x": plan["x"], "y": plan["x"].sum(dim=1, keepdim=True)}

    def paint(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        painted = painter(batch["x"])
        batch["painted"] = painted.detach()
        fit = (painted - batch["y"]).square().mean()
        loss = fit - 0.1 * critic(painted).mean()
        return (loss if spoil is None else spoil(step, loss)), {"fit": fit}

    def judge(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss = critic(batch["painted"]).mean() - critic(batch["y"]).mean()
        return loss, {"critic": loss}

    return Stage(
        name="toy",
        steps=steps,
        modules={"painter": painter, "critic": critic},
        updates=(
            Update("paint", ("painter",), lambda step: 0.01 / (1 + step), paint),
            Update("judge", ("critic",), lambda step: 0.02, judge),
        ),
        draw=draw,
        load=load,
        settings={"width": 8},
        averaged=("painter",),
        ema_decay=0.9,
        gradient_clip=1.0,
    )


def run_toy(folder: Path, stage: Stage) -> dict[str, nn.Module]:
    """Train a toy stage on the CPU; a checkpoint after every step."""
    machine = open_machine("cpu", "fp32")
    return train(stage, folder, machine, seed=5, reporter=Reporter(quiet=True), checkpoint_minutes=0)


def stop_at(step: int, number: signal.Signals) -> Callable[[int, Tensor], Tensor]:
    """A `spoil` that sends this process a signal in the middle of a step, and leaves the loss as it is."""

    def spoil(current: int, loss: Tensor) -> Tensor:
        if current == step:
            os.kill(os.getpid(), number)
        return loss

    return spoil


if __name__ == "__main__":
    # Called like the command, and so one of its processes, which ends as these do.
    _, command, out, count = sys.argv
    assert command in TRAININGS
    run_toy(Path(out), toy_stage(int(count), by_example=True))
    leave(0)
