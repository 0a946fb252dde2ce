"""The training loop. Every stage of every training runs through `train`.

All randomness of step s comes from generators derived from (seed, stage, s), so a step's batch does not depend on what
ran before it, and a training on a CPU that stopped and went on is bit for bit the one that never stopped. With several
processes each computes a share of the same batch, and gradients are averaged before every optimiser step.
"""

from __future__ import annotations

import copy
import math
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn, optim
from torch.optim.swa_utils import get_ema_multi_avg_fn

from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, TrainingError
from brainspade_cli.files import disk_errors, remove_partials, replacing
from brainspade_cli.training.ahead import made_ahead
from brainspade_cli.training.checkpoints import (
    TrainingState,
    later_checkpoints,
    remove_unfinished,
    restore,
    save_checkpoint,
)
from brainspade_cli.training.losslog import LossLog
from brainspade_cli.training.machine import Machine, seeded
from brainspade_cli.training.pieces import Batch, Loss, Pieces, add_gradients
from brainspade_cli.training.stop_signals import interruption, stop_signals

# Random choices of a whole batch, on the CPU: every tensor's first dimension is the batch.
Plan = dict[str, Tensor]

LOG_ROWS = 50_000
PICTURES = 12
PICTURE_INTERVAL = 50


@dataclass(frozen=True)
class Update:
    """One optimiser step: Adam on the parameters of `modules`, while all other parameters take no gradient.

    `loss(batch, step)` returns the value to minimise, a mean over the batch, and the terms to log; it may leave tensors
    in the batch for the next update. `rate(step)` is the learning rate.
    """

    name: str
    modules: tuple[str, ...]
    rate: Callable[[int], float]
    loss: Loss
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Stage:
    """One training: its networks, how a batch is drawn and loaded, and the updates that every step makes in order.

    `draw(generator)` gives the plan of a whole batch; `load(plan)` makes a batch of a share of it, perhaps in another
    thread: what is random in it is in the plan. `averaged` names the networks of which an exponential moving average is
    kept. `settings` is what a checkpoint must agree with to be resumed. `picture(averages)` draws a sample for people
    to look at. A `gradient_clip` of 0 clips nothing.
    """

    name: str
    steps: int
    modules: Mapping[str, nn.Module]
    updates: tuple[Update, ...]
    draw: Callable[[torch.Generator], Plan]
    load: Callable[[Plan], Batch]
    settings: Mapping[str, Any] = field(default_factory=dict)
    averaged: tuple[str, ...] = ()
    ema_decay: float = 0.0
    gradient_clip: float = 0.0
    picture: Callable[[Mapping[str, nn.Module]], Image] | None = None


def step_seed(seed: int, name: str, step: int) -> int:
    """A seed for one step of one stage, independent of every other's.

    Torch's CPU generator uses 32 bits of it: in a very long training some batch may come twice, which does no harm.
    """
    sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode()), step])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def step_generator(seed: int, name: str, step: int) -> torch.Generator:
    """The CPU generator that `step_seed` seeds."""
    return torch.Generator().manual_seed(step_seed(seed, name, step))


def train(
    stage: Stage, folder: Path, machine: Machine, *, seed: int, reporter: Reporter, checkpoint_minutes: float = 3.0
) -> dict[str, nn.Module]:
    """Run a stage to its last step, from its newest whole checkpoint in `folder` if there is one.

    Returns the networks in evaluation mode, the average in place of the network where one is kept. Ctrl-C and SIGTERM
    finish the step, save a checkpoint and leave (KeyboardInterrupt, SystemExit). Raises TrainingError where a loss or
    a gradient is not a finite number; the last checkpoint stays.
    """
    for module in stage.modules.values():
        module.to(machine.device).train()
    averages = {name: _frozen_copy(stage.modules[name]) for name in stage.averaged}
    optimisers = {update.name: _optimiser(stage, update, machine) for update in stage.updates}
    state = TrainingState(stage.modules, averages, optimisers)
    if _agreed(restore(folder, state, stage.settings), folder, machine) < stage.steps:
        with disk_errors(folder, "go on with --resume"), machine.alone(folder):
            # Once more, now that nobody else takes it further.
            done = _agreed(restore(folder, state, stage.settings), folder, machine)
            _clear_start(folder, done, machine, reporter)
            _run(stage, state, folder, machine, done, seed, reporter, 60 * checkpoint_minutes)
    machine.wait()
    return {name: averages.get(name, module).eval() for name, module in stage.modules.items()}


def _agreed(done: int, folder: Path, machine: Machine) -> int:
    """`done`, if all processes found that step's checkpoint; raises InputError in all of them where they differ."""
    if not machine.agrees(done):
        raise InputError(f"The processes find other checkpoints in {folder}; --out must be a folder that all share.")
    return done


def _clear_start(folder: Path, done: int, machine: Machine, reporter: Reporter) -> None:
    """Remove what kills have left in the folder of a stage that starts after `done` steps.

    A damaged checkpoint goes at once: later it would count among those that are kept, in place of a whole one.
    """
    if machine.is_main:
        for damaged in later_checkpoints(folder, done):
            reporter.warn(f"{damaged} is damaged and was removed; going on from step {done}.")
            shutil.rmtree(damaged, ignore_errors=True)
        remove_unfinished(folder)
        remove_partials(folder)


def _run(
    stage: Stage,
    state: TrainingState,
    folder: Path,
    machine: Machine,
    start: int,
    seed: int,
    reporter: Reporter,
    checkpoint_seconds: float,
) -> None:
    log = LossLog(folder / "losses.csv", start) if machine.is_main else None
    log_interval = max(1, stage.steps // LOG_ROWS)
    picture_interval = max(PICTURE_INTERVAL, stage.steps // PICTURES)
    pieces = Pieces(reporter.warn)
    begun = saved = time.monotonic()

    def load(step: int) -> Batch:
        return stage.load(_share(stage.draw(step_generator(seed, stage.name, step)), machine))

    def load_ahead(step: int) -> Batch | None:
        # The step that is computed meanwhile may need all of the memory.
        with suppress(torch.OutOfMemoryError):
            return load(step)
        return None

    with (
        stop_signals() as stopping,
        reporter.progress(stage.name, stage.steps, start) as advance,
        made_ahead(load_ahead, range(start, stage.steps), machine.batches_ahead) as batches,
    ):
        for step, loaded in zip(range(start, stage.steps), batches, strict=True):
            values: dict[str, float] = {}
            with seeded(step_seed(seed, stage.name, step) + machine.rank, machine.device):
                batch = pieces.cut(load(step) if loaded is None else loaded)
                for update in stage.updates:
                    batch, terms = _apply(update, stage, state, batch, step, machine, pieces)
                    values |= terms
            machine.mean_in_place(_statistics(stage.modules))
            for name, average in state.averages.items():
                _average(average, stage.modules[name], stage.ema_decay, step)

            done = step + 1
            finished = done == stage.steps
            signalled = machine.any(bool(stopping))
            if log is not None:
                summary = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                advance(1, summary)
                if step % log_interval == 0:
                    log.write(step, time.monotonic() - begun, values)
                if stage.picture is not None and (done % picture_interval == 0 or finished):
                    _save_picture(stage, state, folder, done, seed, machine.device)
                if finished or signalled or time.monotonic() - saved > checkpoint_seconds:
                    log.flush()
                    save_checkpoint(folder, state, done, stage.settings)
                    saved = time.monotonic()
                    pace = (saved - begun) / (done - start)
                    reporter.say(f"{stage.name}: step {done} of {stage.steps}, {pace:.2f} s a step, {summary}")
            if signalled:
                machine.wait()
                reporter.say(f"{stage.name}: stopped after step {done}; go on with --resume")
                raise interruption(stopping)


def _apply(
    update: Update,
    stage: Stage,
    state: TrainingState,
    batch: list[Batch],
    step: int,
    machine: Machine,
    pieces: Pieces,
) -> tuple[list[Batch], dict[str, float]]:
    """Make one optimiser step; returns the batch, in more pieces if it had to be, and the terms, averaged."""
    optimiser = state.optimisers[update.name]
    own = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for module in stage.modules.values():
        module.requires_grad_(False)
    for parameter in own:
        parameter.requires_grad_(True)
    terms: Mapping[str, Tensor] = {}
    while not terms:
        with suppress(torch.OutOfMemoryError):
            terms = add_gradients(update.loss, batch, step, machine.autocast)
            continue
        optimiser.zero_grad(set_to_none=True)
        batch = pieces.finer(batch)
    gradients = [parameter.grad for parameter in own if parameter.grad is not None]
    machine.mean_in_place(gradients)
    norm = torch.nn.utils.get_total_norm(gradients)
    logged = machine.mean(torch.stack([*terms.values(), norm]))
    # Fetched at once, for an accelerator that is asked waits until it has nothing left to do.
    total, *values, norm_value = logged.tolist()
    for what, number in (("The loss", total), ("A gradient", norm_value)):
        if not math.isfinite(number):
            raise TrainingError(
                f"{what} of stage {stage.name} is not a finite number at step {step} ({update.name}); "
                "lower the learning rate and resume from the last checkpoint."
            )
    if stage.gradient_clip > 0:
        torch.nn.utils.clip_grads_with_norm_(own, stage.gradient_clip, norm)
    for group in optimiser.param_groups:
        group["lr"] = update.rate(step)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return batch, dict(zip(list(terms)[1:], values, strict=True))


def _share(plan: Plan, machine: Machine) -> Plan:
    """Cut out this process's part of a batch's plan."""
    share = machine.share_of(len(next(iter(plan.values()))))
    return {name: value[machine.rank * share : (machine.rank + 1) * share] for name, value in plan.items()}


def _statistics(modules: Mapping[str, nn.Module]) -> list[Tensor]:
    """Buffers that each process fills from its own share of the data: the running statistics of batch norm."""
    return [
        buffer
        for module in modules.values()
        for name, buffer in module.named_buffers()
        if name.rpartition(".")[2].startswith("running_")
    ]


def _optimiser(stage: Stage, update: Update, machine: Machine) -> optim.Optimizer:
    parameters = [parameter for name in update.modules for parameter in stage.modules[name].parameters()]
    fused = machine.device.type in ("cpu", "cuda")
    return optim.Adam(parameters, lr=update.rate(0), betas=update.betas, fused=fused)


def _frozen_copy(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).eval().requires_grad_(False)


@torch.no_grad()
def _average(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Move an average towards its network; quicker over the first steps, so that it forgets the initialisation."""
    decay = min(decay, (1 + step) / (10 + step))
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(module.parameters()), step)
    for kept, newest in zip(average.buffers(), module.buffers(), strict=True):
        kept.copy_(newest)


@torch.no_grad()
def _save_picture(stage: Stage, state: TrainingState, folder: Path, done: int, seed: int, device: torch.device) -> None:
    assert stage.picture is not None
    shown = {name: state.averages.get(name, module) for name, module in stage.modules.items()}
    modes = {name: module.training for name, module in shown.items()}
    for module in shown.values():
        module.eval()
    with seeded(step_seed(seed, f"{stage.name} picture", 0), device):
        image = stage.picture(shown)
    for name, module in shown.items():
        module.train(modes[name])
    with replacing(folder / f"samples-{done:08d}.png") as path:
        image.save(path)
