"""Checkpoints: a folder of one safetensors file and one JSON file, written under another name and renamed. No pickle.

    STAGE/checkpoint-00001200/tensors.safetensors   parameters, buffers, their averages, optimiser states
    STAGE/checkpoint-00001200/state.json            step, settings, SHA-256 of the tensors

A checkpoint counts only if its JSON can be read and the hash agrees; else the one before it is taken.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from brainspade_cli.errors import InputError
from brainspade_cli.files import sha256, write_json

FORMAT = 1
PREFIX = "checkpoint-"
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


def save_checkpoint(folder: Path, state: TrainingState, step: int, settings: Mapping[str, Any]) -> Path:
    """Save the state after `step` steps as one whole checkpoint, and drop all but the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{PREFIX}{step:08d}"
    partial = folder / f".partial-{final.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors = partial / "tensors.safetensors"
    save_file(state.tensors(), tensors)
    with open(tensors, "rb+") as handle:
        os.fsync(handle.fileno())
    write_json(
        partial / "state.json",
        {"format": FORMAT, "step": step, "settings": dict(settings), "sha256": sha256(tensors)},
    )
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    for old in _candidates(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Newest whole checkpoint of a stage with its state.json, or None where there is none."""
    for candidate in _candidates(folder):
        try:
            head: dict[str, Any] = json.loads((candidate / "state.json").read_text())
            if head["format"] == FORMAT and head["sha256"] == sha256(candidate / "tensors.safetensors"):
                return candidate, head
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def restore(folder: Path, state: TrainingState, settings: Mapping[str, Any]) -> int:
    """Load the newest whole checkpoint of a stage; return how many steps it had done, 0 where there is none.

    Raises InputError where the checkpoint was made with other settings; see `check_settings`.
    """
    found = check_settings(folder, settings)
    if found is None:
        return 0
    path, head = found
    state.load(load_file(path / "tensors.safetensors"))
    return int(head["step"])


def check_settings(folder: Path, settings: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """Newest whole checkpoint of a stage, as `newest_checkpoint` gives it, if it was made with these settings.

    Raises InputError where they differ: another network, seed or perceptual network, other scans or class names.
    """
    found = newest_checkpoint(folder)
    if found is None:
        return None
    path, head = found
    wanted = json.loads(json.dumps(dict(settings)))
    # A setting that the checkpoint does not record cannot be held against it.
    names = sorted(key for key, value in head["settings"].items() if key not in wanted or wanted[key] != value)
    if names:
        raise InputError(
            f"{path} was trained with other settings ({', '.join(names)}); resume with the same preset, slice set, "
            "seed and perceptual network, or train into another folder."
        )
    return found


def has_checkpoint(folder: Path) -> bool:
    """Whether a stage's folder holds anything that looks like a checkpoint, whole or not."""
    return bool(_candidates(folder))


def _candidates(folder: Path) -> list[Path]:
    """Folders named like checkpoints, newest first."""
    return sorted(folder.glob(f"{PREFIX}*"), reverse=True)


def _below(flat: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
