"""One run of a trainer: the slice set, the machine, and the bundle folder that its stages fill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from brainspade_cli.bundle_config import BundleConfig, People
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, SliceSetError
from brainspade_cli.presets import Preset
from brainspade_cli.slices import ScanRecord, SliceSet, open_slice_set
from brainspade_cli.training.checkpoints import has_checkpoint
from brainspade_cli.training.loop import Stage, step_seed, train
from brainspade_cli.training.machine import Machine, open_machine, seeded
from brainspade_cli.weights import CONFIG_FILE, read_config

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Run:
    """What every stage of a run shares. `out` is the bundle's folder; training state lies in `out`/training."""

    slice_set: SliceSet
    out: Path
    preset: Preset
    machine: Machine
    seed: int
    reporter: Reporter

    def folder(self, stage: str) -> Path:
        """Folder of a stage's checkpoints, losses and sample pictures."""
        return self.out / "training" / stage

    def origin(self, records: Sequence[ScanRecord]) -> dict[str, Any]:
        """What a stage's randomness and data follow from: the seed, and a digest of its scans, whatever their order.

        It belongs in the settings of every stage, so that no training goes on with another seed or other scans.
        """
        scans = sorted((record.name, record.fingerprint) for record in records)
        return {"seed": self.seed, "scans": hashlib.sha256(json.dumps(scans).encode()).hexdigest()}

    def build(self, name: str, factory: Callable[[], Network]) -> Network:
        """A network with initial weights that follow from the run's seed and the name alone."""
        with seeded(step_seed(self.seed, f"{name} initial weights", 0), torch.device("cpu")):
            return factory()

    def train(self, stage: Stage) -> dict[str, nn.Module]:
        """Run a stage to its end; see `loop.train`."""
        return train(stage, self.folder(stage.name), self.machine, seed=self.seed, reporter=self.reporter)

    def update_bundle(self, config: Mapping[str, Any], networks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put trained networks and entries of config.json into the bundle, with the people that took part."""
        if self.machine.is_main:
            old = _config(self.out)
            people = People() if old is None else old.people
            identity = {"name": f"brainspade-{self.preset.name}", "preset": self.preset.name} if old is None else {}
            everybody = People(
                train=tuple(sorted({*people.train, *self.slice_set.people("train")})),
                held_out=tuple(sorted({*people.held_out, *self.slice_set.people("held-out")})),
            )
            create_or_update_bundle(
                self.out, config_updates={**identity, **config, "people": everybody}, networks=networks, half=True
            )
        self.machine.wait()


def open_run(
    slices: Path,
    out: Path,
    preset: Preset,
    stages: tuple[str, ...],
    *,
    resume: bool,
    seed: int,
    device: str,
    precision: str,
    reporter: Reporter,
) -> Run:
    """Check that `stages` can be trained on `slices` into `out`, and open the machine.

    Raises InputError where `out` already holds one of the stages and `resume` was not asked for, or holds them finished
    with nothing to resume from; SliceSetError where a person would be in the training set here and held out there.
    """
    slice_set = open_slice_set(slices)
    config = _config(out)
    if config is not None:
        _check_people(slice_set, config.people, out)
    begun = [name for name in stages if has_checkpoint(out / "training" / name)]
    if begun and not resume:
        raise InputError(
            f"{out} already holds a training ({', '.join(begun)}); go on with it by --resume, or choose another folder."
        )
    finished = [name for name in stages if config is not None and name in config.stages and name not in begun]
    if finished:
        raise InputError(
            f"{out} holds trained weights ({', '.join(finished)}) without the checkpoints to go on from; "
            "choose another folder, so that they are not overwritten."
        )
    machine = open_machine(device, precision)
    heard = reporter if machine.is_main else Reporter(quiet=True)
    heard.say(
        f"Training on {machine.compute.describe()} in {machine.compute.precision}, {machine.processes} process(es)."
    )
    return Run(slice_set, out, preset, machine, seed, heard)


def _config(out: Path) -> BundleConfig | None:
    return read_config(out) if (out / CONFIG_FILE).exists() else None


def _check_people(slice_set: SliceSet, people: People, out: Path) -> None:
    """Raise SliceSetError where the bundle and the slice set disagree on who is held out."""
    leaked = sorted(set(slice_set.people("train")) & set(people.held_out))
    seen = sorted(set(slice_set.people("held-out")) & set(people.train))
    if leaked:
        raise SliceSetError(
            f"{slice_set.folder} would train on {', '.join(leaked)}, held out of the other networks in {out}; "
            "prepare the slices with the same split."
        )
    if seen:
        raise SliceSetError(
            f"{slice_set.folder} holds out {', '.join(seen)}, on whom other networks in {out} were trained; "
            "prepare the slices with the same split."
        )
