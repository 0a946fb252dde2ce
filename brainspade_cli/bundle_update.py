"""Putting trained networks and configuration into a weights bundle, so that it is whole at every moment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainspade_cli.anatomy import NAMES
from brainspade_cli.bundle import Bundle, read_config
from brainspade_cli.bundle_config import CONFIG_FILE, FORMAT, MADE_BY, TRAINING_CODES, BundleConfig, NetworkConfigs
from brainspade_cli.errors import WeightsError
from brainspade_cli.files import remove_partials, replacing, sha256, write_json
from brainspade_cli.networks.configs import DECODING_LAYERS
from brainspade_cli.presets import preset
from brainspade_cli.tensors import save_tensors

# safetensors makes files that their owner alone can read.
READABLE = 0o644
_DENOISERS = {"denoiser_healthy", "denoiser_tumour"}
_TABLES = ("networks", "conditions", "solvers", "stages")
# Weights that are worth nothing beside other weights of the network that they were trained with; codes of training
# slices beside other weights of any network, for these may have been trained on other people.
_BOUND_TO = {
    "label_autoencoder": (*sorted(_DENOISERS), TRAINING_CODES),
    "denoiser_healthy": (TRAINING_CODES,),
    "denoiser_tumour": (TRAINING_CODES,),
    "style_encoder": ("spade_generator", "style_bank", TRAINING_CODES),
    "spade_generator": (TRAINING_CODES,),
}


def create_or_update_bundle(
    folder: Path,
    *,
    config_updates: Mapping[str, Any],
    networks: Mapping[str, Mapping[str, Tensor]],
    half: bool = True,
) -> Bundle:
    """Put networks (state dicts by name, or "style_bank" tensors) and configuration into a bundle, new or not.

    `config_updates` holds top-level entries of config.json, as JSON data or as the dataclasses above. Entries that are
    tables by name (networks, conditions, solvers, stages) are merged by name, and people join those that are there;
    every other entry, `style_bank` too, replaces the old one. A new bundle needs `name` and `preset`; network sizes not
    given are the preset's. With `half`, floating tensors are stored in half precision where that costs them nothing but
    rounding.

    A denoiser knows one latent space, a generator and a style bank know one style encoder: when other autoencoder or
    encoder weights arrive, those that do not arrive with them leave the bundle. (An autoencoder whose decoder alone is
    another has the same latent space.) A solver is fitted to one denoiser, and leaves with it. Codes of training slices
    leave with a change of any network, and when training people join, unless they arrive in the same update. The tensor
    files are on disk before config.json, so an interruption leaves files that config.json does not vouch for, never a
    bundle that looks right and is not. Raises WeightsError for tensors that are not finite, for unknown names and for a
    configuration that `BundleConfig.from_json` refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        remove_partials(folder)
        before = read_config(folder) if (folder / CONFIG_FILE).exists() else None
        old = {} if before is None else before.to_json()
        known = set() if before is None else set(before.people.train)
        data: dict[str, Any] = {"format": FORMAT, "labels": list(NAMES), **old}
        for key, value in config_updates.items():
            plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            data[key] = _joined(key, data.get(key, {}), plain)
        if isinstance(data.get("preset"), str):
            sizes = preset(data["preset"])
            defaults = {entry.name: getattr(sizes, entry.name) for entry in fields(NetworkConfigs)}
            data["networks"] = {**defaults, **data.get("networks", {})}
        hashes: dict[str, str] = dict(data.get("sha256", {}))
        fitting = set(networks)
        # The files take their names when all of them, and the configuration, have been found good.
        with ExitStack() as files:
            for name, tensors in networks.items():
                if name not in MADE_BY:
                    raise WeightsError(f"A bundle has no part '{name}'; its parts are {', '.join(MADE_BY)}.")
                path = folder / f"{name}.safetensors"
                temporary = files.enter_context(replacing(path))
                stored = _stored(tensors, half, path)
                if name == "label_autoencoder" and before is not None:
                    unchanged = _same_latents(Bundle(folder, before, str(folder)), stored)
                    fitting |= _DENOISERS if unchanged else set()
                save_tensors(stored, temporary, {"format": "pt"})
                temporary.chmod(READABLE)
                hashes[path.name] = sha256(temporary)
            for name in _outdated(data.get("sha256", {}), hashes, fitting):
                del hashes[f"{name}.safetensors"]
                stage = name.replace("_", "-")
                if name in _DENOISERS and stage not in config_updates.get("stages", {}):
                    data.get("stages", {}).pop(stage, None)
                if name == "style_bank" and name not in config_updates:
                    data["style_bank"] = {}
            fitted = config_updates.get("solvers", {})
            data["solvers"] = {
                population: solver
                for population, solver in data.get("solvers", {}).items()
                if population in fitted or _unchanged(f"denoiser_{population}", data.get("sha256", {}), hashes)
            }
            config = BundleConfig.from_json({**data, "sha256": hashes}, str(folder / CONFIG_FILE))
            if set(config.people.train) - known and TRAINING_CODES not in networks:
                hashes.pop(f"{TRAINING_CODES}.safetensors", None)
                config = replace(config, sha256=hashes)
        write_json(folder / CONFIG_FILE, config.to_json())
    return Bundle(folder.resolve(), config, str(folder.resolve()))


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy a bundle's own files, each whole, and nothing else of its folder; config.json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*bundle.config.sha256, CONFIG_FILE):
        with replacing(folder / file) as temporary:
            shutil.copyfile(bundle.folder / file, temporary)


def _joined(key: str, old: Any, new: Any) -> Any:
    """What an entry of config.json is after an update, as JSON data; `old` is empty where there was none."""
    if key in _TABLES and isinstance(new, Mapping):
        return {**old, **new}
    if key == "people" and old:
        # Here, where the folder is held: of two trainings that end at once, neither loses the people of the other.
        return {role: sorted({*names, *new.get(role, ())}) for role, names in old.items()}
    return new


def _unchanged(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    return old.get(f"{name}.safetensors") == new.get(f"{name}.safetensors")


def _outdated(old: Mapping[str, str], new: Mapping[str, str], fitting: Set[str]) -> list[str]:
    """Parts of the bundle whose counterpart has changed, but for those known to fit the new one."""
    bound = (
        name
        for counterpart, names in _BOUND_TO.items()
        if not _unchanged(counterpart, old, new)
        for name in names
        if name not in fitting and f"{name}.safetensors" in new
    )
    return list(dict.fromkeys(bound))


def _same_latents(old: Bundle, new: Mapping[str, Tensor]) -> bool:
    """Whether a bundle's label autoencoder, if it can be read, encodes as one with the stored tensors `new` does."""
    try:
        known = old.tensors("label_autoencoder")
    except WeightsError:
        return False
    decoding = tuple(f"vae.{layer}." for layer in DECODING_LAYERS)
    encoding = {key for key in {*known, *new} if not key.startswith(decoding)}
    return all(key in known and key in new and torch.equal(known[key], new[key].float()) for key in encoding)


def _stored(tensors: Mapping[str, Tensor], half: bool, path: Path) -> dict[str, Tensor]:
    """Copy tensors to the CPU as they go to disk.

    A tensor stays in single precision where half precision would overflow or drown it (batch-norm variances may be
    large or tiny): where its error would exceed rounding, 2^-11 of its largest value.
    """
    stored: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous().clone()
        if copy.is_floating_point():
            copy = copy.float()
            if not torch.isfinite(copy).all():
                raise WeightsError(f"{path} was not written: its tensor {key} holds values that are not finite.")
            rounded = copy.half()
            limit = copy.abs().max() * 2**-11 if copy.numel() else copy.new_zeros(())
            if half and bool(((rounded.float() - copy).abs() <= limit).all()):
                copy = rounded
        stored[key] = copy
    return stored


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a bundle's folder, since the label and the image training may end at once and both write config.json."""
    if sys.platform == "win32":  # no locks on folders there; `replacing` still keeps every file whole
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        # Network file systems may have no locks, or none on folders: the update then goes on without.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
