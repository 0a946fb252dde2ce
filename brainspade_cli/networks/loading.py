"""A network by its name in a bundle, without memory for its weights until they are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from brainspade_cli.bundle_config import CONFIG_FILE, NetworkConfigs
from brainspade_cli.errors import WeightsError


def load_network(name: str, configs: NetworkConfigs, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The network that a bundle names `name`, of these sizes, with the tensors of the file `path`; on the CPU.

    The tensors, floating ones float32, become its own weights. Raises WeightsError where they are not those of the
    network, and what the network raises where its sizes cannot be.
    """
    make = _maker(name, configs)
    # Without memory, for sizes in a config.json may be any; and weights need not be drawn that are replaced.
    with torch.device("meta"), _NoPowerIterations():
        module = make()
    _fit(tensors, module.state_dict(), path)
    module.load_state_dict(tensors, assign=True)
    return module


class _NoPowerIterations(TorchFunctionMode):
    """Leaves out the normalising of vectors: on the meta device spectral norm's first power iterations take seconds."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func is F.normalize else func(*args, **(kwargs or {}))


def _maker(name: str, configs: NetworkConfigs) -> Callable[[], nn.Module]:
    # Imported when needed: MONAI takes seconds to import, and listing or pushing weights needs none of it.
    if name == "label_autoencoder":
        from brainspade_cli.networks.label_autoencoder import LabelAutoencoder

        return partial(LabelAutoencoder, configs.autoencoder)
    if name in ("denoiser_healthy", "denoiser_tumour"):
        from brainspade_cli.networks.label_denoiser import LabelDenoiser

        return partial(LabelDenoiser, configs.denoiser)
    if name == "style_encoder":
        from brainspade_cli.networks.style_encoder import StyleEncoder

        return partial(StyleEncoder, configs.style_encoder)
    from brainspade_cli.networks.spade_generator import SpadeGenerator

    return partial(SpadeGenerator, configs.generator)


def _fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raise WeightsError, naming file and tensor, unless names, shapes and types are those of the network."""
    for key in sorted(expected.keys() | tensors.keys()):
        if key not in tensors:
            problem = f"lacks the tensor {key}"
        elif key not in expected:
            problem = f"has a tensor {key} that the network does not have"
        elif tensors[key].shape != expected[key].shape:
            problem = f"has {key} of shape {tuple(tensors[key].shape)}, not {tuple(expected[key].shape)}"
        elif tensors[key].dtype != expected[key].dtype:
            problem = f"has {key} of type {tensors[key].dtype}, not {expected[key].dtype}"
        else:
            continue
        raise WeightsError(f"{path} {problem}; it does not belong to the network in its {CONFIG_FILE}.")
