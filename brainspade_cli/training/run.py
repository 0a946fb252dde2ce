"""One run of a trainer: the slice set, the machine, and the bundle folder that its stages fill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from brainspade_cli.bundle import Bundle, read_config
from brainspade_cli.bundle_config import CONFIG_FILE, BundleConfig, People
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, SliceSetError
from brainspade_cli.files import disk_errors
from brainspade_cli.presets import Preset
from brainspade_cli.slices import ScanRecord, SliceSet, open_slice_set
from brainspade_cli.training.checkpoints import has_checkpoint, newest_checkpoint
from brainspade_cli.training.loop import Stage, step_seed, train
from brainspade_cli.training.machine import Machine, open_machine, seeded
from brainspade_cli.weights import open_bundle

Network = TypeVar("Network", bound=nn.Module)
# What stands for the weights that came with the package, where weights to start from are named.
DEFAULT = "default"


@dataclass(frozen=True)
class TrainingRequest:
    """What either training is asked for. `out` is the folder of the weights bundle to make or to go on with.

    `steps` replaces the preset's number of steps of the networks that a training is named for. With `resume`, finished
    stages are skipped, and an unfinished one goes on from its newest whole checkpoint. `start_from` are weights to
    train further (a folder, a Hub name, or "default"). `device` and `precision` as `devices.open_compute` takes them.
    """

    slices: Path
    out: Path
    preset: Preset
    steps: int | None = None
    resume: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    start_from: str | None = None


@dataclass(frozen=True)
class Run:
    """What every stage of a run shares. `out` is the bundle's folder; training state lies in `out`/training.

    `start` holds the networks that training starts from; None where they start afresh.
    """

    slice_set: SliceSet
    out: Path
    preset: Preset
    machine: Machine
    seed: int
    reporter: Reporter
    start: Bundle | None = None

    def folder(self, stage: str) -> Path:
        """Folder of a stage's checkpoints, losses and sample pictures."""
        return self.out / "training" / stage

    def origin(self, records: Sequence[ScanRecord]) -> dict[str, Any]:
        """What a stage's randomness and data follow from: the seed, and a digest of its scans, whatever their order.

        It belongs in the settings of every stage, so that no training goes on with another seed or other scans, nor as
        if it had started from other weights.
        """
        scans = sorted((record.name, record.fingerprint) for record in records)
        origin = {"seed": self.seed, "scans": hashlib.sha256(json.dumps(scans).encode()).hexdigest()}
        return origin if self.start is None else {**origin, "start": self.start.config.sha256}

    def build(self, name: str, factory: Callable[[], Network], part: str = "") -> Network:
        """A network with initial weights that follow from the run's seed and the name alone.

        `part` is its name in a bundle: where the run starts from one that has it, its weights are those.
        """
        with seeded(step_seed(self.seed, f"{name} initial weights", 0), torch.device("cpu")):
            network = factory()
        if self.start is not None and self.start.has(part):
            network.load_state_dict(self.start.network(part).state_dict())
        return network

    def train(self, stage: Stage) -> dict[str, nn.Module]:
        """Run a stage to its end; see `loop.train`."""
        return train(stage, self.folder(stage.name), self.machine, seed=self.seed, reporter=self.reporter)

    def people(self) -> People:
        """Whom this training learns from and holds out, and the weights that it starts from did."""
        earlier = People() if self.start is None else self.start.config.people
        return People(
            train=_together(self.slice_set.people("train"), earlier.train),
            held_out=_together(self.slice_set.people("held-out"), earlier.held_out),
        )

    def update_bundle(self, config: Mapping[str, Any], networks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put trained networks and entries of config.json into the bundle, with the people that took part."""
        if self.machine.is_main:
            is_new = _config(self.out) is None
            identity = {"name": f"brainspade-{self.preset.name}", "preset": self.preset.name} if is_new else {}
            updates = {**identity, **config, "people": self.people()}
            with disk_errors(self.out, "go on with --resume"):
                create_or_update_bundle(self.out, config_updates=updates, networks=networks, half=True)
        self.machine.wait()

    def steps_of(self, stage: str) -> int:
        """Steps that a trained stage has behind it, which may be more than were asked for; 0 without a checkpoint."""
        found = newest_checkpoint(self.folder(stage))
        return 0 if found is None else int(found[1]["step"])


def open_run(request: TrainingRequest, stages: tuple[str, ...], parts: Sequence[str], reporter: Reporter) -> Run:
    """Check that `stages` can be trained as requested, and open the machine.

    Weights to start from must have the networks `parts`; the run's preset then has the sizes and the noise schedule of
    these weights in place of its own.

    Raises InputError where `steps` is below 1, and where `out` already holds one of the stages and `resume` was not
    asked for, or holds them finished with nothing to resume from; SliceSetError where a person would be in training and
    held out, here or there; WeightsError where the weights to start from lack a part.
    """
    if request.steps is not None and request.steps < 1:
        raise InputError(f"A training takes at least 1 step, not {request.steps}.")
    out, preset, start_from = request.out, request.preset, request.start_from
    slice_set = open_slice_set(request.slices)
    slice_set.require_split()
    config = _config(out)
    if config is not None:
        _check_people(slice_set, config.people, str(out))
    start = None if start_from is None else open_bundle(None if start_from == DEFAULT else start_from)
    if start is not None:
        _check_people(slice_set, start.config.people, start.source)
        if config is not None:
            _check_bundles(start, config.people, str(out))
        start.require(*parts)
        networks = start.config.networks
        preset = replace(preset, **{entry.name: getattr(networks, entry.name) for entry in fields(networks)})
    begun = [name for name in stages if has_checkpoint(out / "training" / name)]
    if begun and not request.resume:
        raise InputError(
            f"{out} already holds a training ({', '.join(begun)}); go on with it by --resume, or choose another folder."
        )
    finished = [name for name in stages if config is not None and name in config.stages and name not in begun]
    if finished:
        raise InputError(
            f"{out} holds trained weights ({', '.join(finished)}) without the checkpoints to go on from; "
            "choose another folder, so that they are not overwritten."
        )
    machine = open_machine(request.device, request.precision)
    heard = reporter if machine.is_main else Reporter(quiet=True)
    heard.say(
        f"Training on {machine.compute.describe()} in {machine.compute.precision}, {machine.processes} process(es)."
    )
    return Run(slice_set, out, preset, machine, request.seed, heard, start)


def _config(out: Path) -> BundleConfig | None:
    return read_config(out) if (out / CONFIG_FILE).exists() else None


def _together(*groups: Iterable[str]) -> tuple[str, ...]:
    """Every name that is in one of the groups, once, in order."""
    return tuple(sorted(set().union(*groups)))


def _check_bundles(start: Bundle, people: People, out: str) -> None:
    """Raise SliceSetError where somebody was trained on in one of two bundles and held out of the other."""
    known = start.config.people
    both = sorted(set(known.train) & set(people.held_out) | set(known.held_out) & set(people.train))
    if both:
        raise SliceSetError(
            f"{', '.join(both)} would be in training and held out: {start.source} and {out} differ in that; train into "
            "another folder, or start from other weights."
        )


def _check_people(slice_set: SliceSet, people: People, out: str) -> None:
    """Raise SliceSetError where the bundle and the slice set disagree on who is held out."""
    leaked = sorted(slice_set.person_names("train") & set(people.held_out))
    seen = sorted(slice_set.person_names("held-out") & set(people.train))
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
