"""A weights bundle: a folder of safetensors files that one config.json describes and whose SHA-256 it vouches for.

    FOLDER/config.json                     written last: a file that it does not list is not part of the bundle
    FOLDER/label_autoencoder.safetensors   denoiser_healthy, denoiser_tumour, style_encoder, spade_generator likewise
    FOLDER/style_bank.safetensors          "<modality>.mean" and "<modality>.log_variance", each (styles, style_dim)
    FOLDER/training_codes.safetensors      not in every bundle: codes of the training slices to audit by
    FOLDER/README.md                       the model card

A bundle under training lacks some of these; it opens, and says which training makes what is asked for. The default that
installs with the package, a folder and a repository on the Hugging Face Hub all have this one layout.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from brainspade_cli.bundle_config import CONFIG_FILE, MADE_BY, BundleConfig, ConditionTable, LatentStatistics
from brainspade_cli.errors import WeightsError
from brainspade_cli.files import sha256
from brainspade_cli.networks.loading import load_network
from brainspade_cli.reading import read_bytes, read_json

_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".zip"})
# The largest file that is read; the paper's networks have a quarter of it.
MAX_TENSOR_BYTES = 8 * 2**30


@dataclass(frozen=True)
class StyleBank:
    """Banked styles of one modality: `mean` and `log_variance` (styles, style_dim), and their scans' intensities."""

    mean: Tensor
    log_variance: Tensor
    intensity_mean: float
    intensity_std: float
    background: float


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `source`: "installed default", a folder, or a Hub name; `revision`: its commit on the Hub."""

    folder: Path
    config: BundleConfig
    source: str
    revision: str | None = None

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file that makes the bundle; those of the tensor files are checked whenever one is read."""
        return {CONFIG_FILE: sha256(self.folder / CONFIG_FILE), **self.config.sha256}

    def has(self, name: str) -> bool:
        """Whether a network (or "style_bank") is part of the bundle."""
        return f"{name}.safetensors" in self.config.sha256

    def require(self, *names: str) -> None:
        """Raise WeightsError where a network is not part of the bundle, saying which training makes it."""
        for name in names:
            if not self.has(name):
                raise self._missing(f"network {name}", name)

    def latent(self) -> LatentStatistics:
        """Statistics of the latents; raises WeightsError where no denoiser has been trained."""
        if self.config.latent is None:
            raise self._missing("latent statistics", "label_autoencoder")
        return self.config.latent

    def conditions(self, population: str) -> ConditionTable:
        """Condition table of "healthy" or "tumour"; raises WeightsError where that denoiser has not been trained."""
        if population not in self.config.conditions:
            raise self._missing(f"condition table for '{population}'", f"denoiser_{population}")
        return self.config.conditions[population]

    def network(self, name: str, device: torch.device | str = "cpu") -> nn.Module:
        """Load a network by its file's name, as float32 on `device` in eval mode and without gradients.

        Raises WeightsError where it is absent or damaged, and where its tensors are not those of the network that
        config.json describes.
        """
        tensors = self.tensors(name)
        path = self.folder / f"{name}.safetensors"
        try:
            module = load_network(name, self.config.networks, tensors, path)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{self.folder / CONFIG_FILE} describes a {name} that cannot be built ({error}); get the weights again."
            ) from error
        return module.requires_grad_(False).eval().to(device)

    def style_bank(self, modality: str) -> StyleBank:
        """Banked styles of a modality; raises WeightsError where there are none, naming those there are."""
        tensors = self.tensors("style_bank")
        if modality not in self.config.style_bank:
            known = ", ".join(f"@{name}" for name in self.config.style_bank)
            raise WeightsError(
                f"The weights ({self.source}) have no bank of styles for '{modality}', only for {known}; name one of "
                "these or a scan."
            )
        entry = self.config.style_bank[modality]
        keys = (f"{modality}.mean", f"{modality}.log_variance")
        width = self.config.networks.style_encoder.style_dim
        for key in keys:
            tensor = tensors.get(key)
            sound = tensor is not None and tensor.is_floating_point() and tensor.ndim == 2 and len(tensor) > 0
            if tensor is None or not sound or tensor.shape != (len(tensors[keys[0]]), width):
                shape = "no tensor" if tensor is None else f"shape {tuple(tensor.shape)}"
                raise WeightsError(
                    f"{self.folder / 'style_bank.safetensors'} has {shape} for {key}, not (styles, {width}); "
                    "get the weights again."
                )
        return StyleBank(
            tensors[keys[0]], tensors[keys[1]], entry.intensity_mean, entry.intensity_std, entry.background
        )

    def _missing(self, what: str, maker: str) -> WeightsError:
        if self.source != str(self.folder):
            return WeightsError(f"The weights {self.source} have no {what}; choose others with --weights.")
        command = MADE_BY.get(maker, MADE_BY["label_autoencoder"]).replace("WEIGHTS", str(self.folder))
        return WeightsError(f"The weights {self.source} have no {what}; train it with `{command}`.")

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of one file, floating ones as float32, after its hash was found right; raises WeightsError."""
        if not self.has(name):
            raise self._missing(name, name)
        path = self.folder / f"{name}.safetensors"
        try:
            content = read_bytes(path, MAX_TENSOR_BYTES)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise WeightsError(f"{path} cannot be read ({reason}); get the weights again.") from error
        if hashlib.sha256(content).hexdigest() != self.config.sha256[path.name]:
            raise WeightsError(
                f"{path} is damaged or was changed: its SHA-256 is not the one in {CONFIG_FILE}; get the weights again."
            )
        try:
            tensors = safetensors.torch.load(content)
        except (SafetensorError, KeyError, ValueError) as error:
            raise WeightsError(f"{path} is not a whole safetensors file ({error}); get the weights again.") from error
        tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
        for key, value in tensors.items():
            if not torch.isfinite(value).all():
                raise WeightsError(f"{path} holds NaN or infinite weights in {key}; take other weights.")
        return tensors


def open_folder(folder: Path) -> Bundle:
    """Open the bundle in a folder, "~" expanded; raises WeightsError where there is none, or something else in it."""
    found = find_folder(folder)
    if found is None:
        raise WeightsError(f"There is no folder {folder}; give the folder of a weights bundle.")
    return Bundle(found.resolve(), read_config(found), str(found.resolve()))


def find_folder(path: Path) -> Path | None:
    """The folder at a path, "~" expanded; None where nothing is.

    Raises WeightsError for a file and for what is named like a pickle: a pickle is never loaded, however it is named.
    """
    path = Path(os.path.expanduser(path))
    # os.path takes a name that is too long, or out of reach, for one of nothing; pathlib would raise.
    if os.path.isdir(path):
        return path
    head = b""
    if os.path.isfile(path):
        with suppress(OSError), open(path, "rb") as handle:
            head = handle.read(4)
    # Protocol 2 and later begin with PROTO and the version; torch's own files are ZIP archives around a pickle.
    is_pickle = head == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))
    if is_pickle or path.suffix.lower() in _PICKLE_SUFFIXES:
        raise WeightsError(
            f"{path} is or is named like a pickle; pickles are never loaded, because they can run code: "
            "give a brainspade bundle, a folder of safetensors files with a config.json."
        )
    if os.path.exists(path):
        kind = "a file" if os.path.isfile(path) else "no folder"
        raise WeightsError(f"{path} is {kind}; give the folder of a weights bundle, the one with its {CONFIG_FILE}.")
    return None


def open_installed() -> Bundle:
    """Open the bundle that came with the package; raises WeightsError where there is none."""
    folder = _installed_folder()
    return Bundle(folder, read_config(folder), "installed default")


def _installed_folder() -> Path:
    """Inside the package when installed, beside it in a checkout."""
    package = Path(str(resources.files("brainspade_cli")))
    for folder in (package / "default_weights", package.parent / "weights"):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise WeightsError("This installation came without weights; give some with --weights (a folder or a Hub name).")


def read_config(folder: Path, where: str | None = None) -> BundleConfig:
    """Parse a folder's config.json; raises WeightsError where it is absent, damaged or of another kind.

    `where` is what messages call the file, by default its path.
    """
    path = folder / CONFIG_FILE
    where = where or str(path)
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        if any(_PICKLE_SUFFIXES & {file.suffix} for file in folder.iterdir()):
            raise WeightsError(
                f"{folder} holds pickled weights and no {CONFIG_FILE}; pickles are never loaded, because they can run "
                "code: give a brainspade bundle (safetensors)."
            ) from error
        raise WeightsError(
            f"{folder} is not a weights bundle: it has no {CONFIG_FILE}; give the folder that a training wrote."
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{where} cannot be read ({error}); get the weights again.") from error
    return BundleConfig.from_json(data, where)
