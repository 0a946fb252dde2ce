"""What a bundle holds, summed up."""

from __future__ import annotations

import math
from typing import Any

import safetensors
from safetensors import SafetensorError

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import MADE_BY, TRAINING_CODES
from brainspade_cli.errors import WeightsError
from brainspade_cli.reading import require_plain


def bundle_info(bundle: Bundle) -> dict[str, Any]:
    """Sum a bundle up for `brainspade weights info`, as JSON data.

    `parameters` counts the floating values of each file. Raises WeightsError where a file cannot be read.
    """
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
