"""Checkpoints: a folder of one safetensors file and one JSON file, written under another name and renamed. No pickle.

    STAGE/checkpoint-00001200/tensors.safetensors   parameters, buffers, their averages, optimiser states
    STAGE/checkpoint-00001200/state.json            step, settings, SHA-256 of the tensors and of the rest

A checkpoint counts only if its JSON can be read and the hashes agree; else the one before it is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn, optim

from brainspade_cli.errors import InputError, TrainingError, want_of_memory
from brainspade_cli.files import flush, sha256, write_json
from brainspade_cli.reading import read_json
from brainspade_cli.tensors import save_tensors

FORMAT = 1
PREFIX = "checkpoint-"
_NAME = re.compile(rf"{PREFIX}\d{{8,}}")
KEEP = 2


@dataclass(frozen=True)
class TrainingState:
    """What a training changes, by name: networks, averages of some of them, and optimisers."""

    modules: Mapping[str, nn.Module]
    averages: Mapping[str, nn.Module]
    optimisers: Mapping[str, optim.Optimizer]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state, on the CPU, by a flat name."""
        flat: dict[str, Tensor] = {}
        for kind, modules in (("module", self.modules), ("average", self.averages)):
            for name, module in modules.items():
                flat |= {f"{kind}.{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, entries in optimiser.state_dict()["state"].items():
                flat |= {f"optimiser.{name}.{index}.{key}": value for key, value in entries.items()}
        return {key: value.detach().cpu().contiguous() for key, value in flat.items()}

    def load(self, flat: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave. Raises KeyError or RuntimeError where names or shapes do not fit."""
        for kind, modules in (("module", self.modules), ("average", self.averages)):
            for name, module in modules.items():
                module.load_state_dict(_below(flat, f"{kind}.{name}."))
        for name, optimiser in self.optimisers.items():
            entries: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(flat, f"optimiser.{name}.").items():
                index, entry = key.split(".", 1)
                entries.setdefault(int(index), {})[entry] = value
            optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
            for parameter, state in optimiser.state.items():
                for key, value in state.items():
                    if value.shape == parameter.shape:
                        # Laid out in memory as its parameter is, which a fused optimiser asks for.
                        state[key] = torch.empty_like(parameter).copy_(value)


def save_checkpoint(folder: Path, state: TrainingState, step: int, settings: Mapping[str, Any]) -> Path:
    """Save the state after `step` steps as one whole checkpoint of `folder`, and drop all but the last two.

    Those of later steps go as well: training has passed them over because they are damaged. Raises OSError where the
    disk does not play along, and TrainingError where something in the state is not a finite number; the checkpoints
    before stay.
    """
    flat = state.tensors()
    for name, value in flat.items():
        # Loss and gradients cannot show all: an optimiser's step may overflow, and so may a running variance.
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise TrainingError(
                f"{name} of {folder} is not a finite number after step {step - 1}, and was not saved; lower the "
                "learning rate and resume from the last checkpoint."
            )
    final = folder / f"{PREFIX}{step:08d}"
    partial = folder / f".partial-{final.name}"
    remove_unfinished(folder)
    partial.mkdir()
    try:
        tensors = partial / "tensors.safetensors"
        save_tensors(flat, tensors)
        flush(tensors)
        head = _plain({"format": FORMAT, "step": step, "settings": dict(settings), "sha256": sha256(tensors)})
        write_json(partial / "state.json", {**head, "own_sha256": _digest(head)})
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
    finally:
        # After a failure it would take up the room that the next try needs.
        shutil.rmtree(partial, ignore_errors=True)
    for damaged in later_checkpoints(folder, step):
        shutil.rmtree(damaged, ignore_errors=True)
    for old in _candidates(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def remove_unfinished(folder: Path) -> None:
    """Delete the checkpoints that killed processes left half-written."""
    for partial in folder.glob(f".partial-{PREFIX}*"):
        shutil.rmtree(partial, ignore_errors=True)


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Newest whole checkpoint of a stage with its state.json, or None where there is none.

    Raises OSError for one that is there and may not be read, and InputError for one of another format: neither is to be
    taken for a damaged one.
    """
    for candidate in _candidates(folder):
        try:
            head: dict[str, Any] = dict(read_json(candidate / "state.json"))
            # Early checkpoints have no hash of this file itself.
            own = head.pop("own_sha256", None)
            whole = own in (None, _digest(head)) and head["sha256"] == sha256(candidate / "tensors.safetensors")
            if not whole or candidate.name != f"{PREFIX}{head['step']:08d}":
                continue
            if head["format"] == FORMAT:
                return candidate, head
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            continue
        raise InputError(
            f"{candidate} is of format {head['format']} and this brainspade reads format {FORMAT}; go on with the "
            "version that made it, or train into another folder."
        )
    return None


def restore(folder: Path, state: TrainingState, settings: Mapping[str, Any]) -> int:
    """Load the newest whole checkpoint of a stage; return how many steps it had done, 0 where there is none.

    Raises InputError where the checkpoint was made with other settings, see `check_settings`, or by other code.
    """
    found = check_settings(folder, settings)
    if found is None:
        return 0
    path, head = found
    try:
        state.load(load_file(path / "tensors.safetensors"))
    except (RuntimeError, KeyError, ValueError) as error:
        if want_of_memory(error) is not None:
            raise
        raise InputError(
            f"{path} does not fit the networks of this version ({str(error).splitlines()[0]}); go on with the version "
            "that made it, or train into another folder."
        ) from error
    return int(head["step"])


def check_settings(folder: Path, settings: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """Newest whole checkpoint of a stage, as `newest_checkpoint` gives it, if it was made with these settings.

    Raises InputError where they differ: another network, seed or perceptual network, other scans or class names.
    """
    found = newest_checkpoint(folder)
    if found is None:
        return None
    path, head = found
    wanted = _plain(settings)
    # A setting that the checkpoint does not record cannot be held against it.
    names = sorted(key for key, value in head["settings"].items() if key not in wanted or wanted[key] != value)
    if "start" in wanted and "start" not in head["settings"]:
        # But it would record weights that it had started from.
        names.append("start")
    if names:
        raise InputError(
            f"{path} was trained with other settings ({', '.join(names)}); resume with the same preset, slice set, "
            "seed and perceptual network, or train into another folder."
        )
    return found


def has_checkpoint(folder: Path) -> bool:
    """Whether a stage's folder holds anything that looks like a checkpoint, whole or not."""
    return bool(_candidates(folder))


def later_checkpoints(folder: Path, step: int) -> list[Path]:
    """What looks like checkpoints of later steps than `step`."""
    return [path for path in _candidates(folder) if _step_of(path) > step]


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Data as it comes back from JSON: lists for tuples, texts for numbers that are keys."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(data)))
    return plain


def _digest(head: Mapping[str, Any]) -> str:
    """SHA-256 of a checkpoint's state.json without this hash."""
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


def _candidates(folder: Path) -> list[Path]:
    """Folders named as checkpoints are, newest first. Others, such as a copy that a user keeps, are none of ours."""
    named = [path for path in folder.glob(f"{PREFIX}*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(named, key=_step_of, reverse=True)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def _below(flat: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
