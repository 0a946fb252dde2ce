"""Weights by what a user calls them: the installed default, a folder or a repository on the Hugging Face Hub."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import safetensors
from safetensors import SafetensorError

from brainspade_cli.bundle import Bundle, open_folder, open_installed, refuse_files
from brainspade_cli.bundle_config import MADE_BY, TRAINING_CODES
from brainspade_cli.errors import WeightsError
from brainspade_cli.hub import HUB_NAME, download
from brainspade_cli.reading import require_plain


def open_bundle(weights: str | None = None, revision: str | None = None, offline: bool = False) -> Bundle:
    """Open the installed default (None), a folder, or a Hub repository ("org/name" at `revision`, a branch or commit).

    With `offline`, a Hub name is looked up in the local cache alone. Raises WeightsError for what cannot be had.
    """
    path = None if weights is None else Path(os.path.expanduser(weights))
    if weights is not None and path is not None and not path.is_dir():
        refuse_files(path)
        if not HUB_NAME.fullmatch(weights):
            raise WeightsError(f"There is no folder {weights}; give a weights folder or a Hub name such as org/name.")
        try:
            return download(weights, revision, offline)
        except WeightsError as error:
            # A mistyped folder looks like a name on the Hub.
            raise type(error)(f"{error} There is no folder {weights} here, either.") from error
    if revision is not None:
        raise WeightsError(
            f"The revision {revision} (--revision, BRAINSPADE_REVISION) means a commit on the Hub, but the weights are "
            f"{'the installed default' if path is None else f'the folder {path}'}; leave it out or give a Hub name."
        )
    return open_installed() if path is None else open_folder(path)


def weights_info(bundle: Bundle) -> dict[str, Any]:
    """Sum a bundle up for `brainspade weights info`; `parameters` counts the floating values of each file."""
    config = bundle.config
    parts = [name for name in MADE_BY if name != TRAINING_CODES]
    values = {name: _floating_values(bundle, name) for name in parts if bundle.has(name)}
    return {
        "name": config.name,
        "source": bundle.source,
        "revision": bundle.revision,
        "folder": str(bundle.folder),
        "preset": config.preset,
        "parameters": values,
        "missing": [name for name in parts if not bundle.has(name)],
        "training_codes": bundle.has(TRAINING_CODES),
        "bytes": sum((bundle.folder / file).stat().st_size for file in config.sha256),
        "modalities": list(config.modalities),
        "datasets": list(config.datasets),
        "styles": list(config.style_bank),
        "people": {"train": len(config.people.train), "held_out": len(config.people.held_out)},
        "licence": config.licence,
        "fitted_samplers": {population: {"steps": solver.steps} for population, solver in config.solvers.items()},
        "stages": config.stages,
        "sha256": bundle.hashes(),
    }


def _floating_values(bundle: Bundle, name: str) -> int:
    path = bundle.folder / f"{name}.safetensors"
    try:
        require_plain(path)
        with safetensors.safe_open(path, framework="pt") as file:
            slices = [file.get_slice(key) for key in file.keys()]  # noqa: SIM118 - safe_open is no mapping
            return sum(math.prod(part.get_shape()) for part in slices if "F" in part.get_dtype())
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); get the weights again.") from error
