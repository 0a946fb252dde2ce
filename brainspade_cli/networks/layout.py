"""How a network's weights lie in memory."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """The same network, its weights laid out with channels last: faster at much resolution and few channels."""
    # The library's type stubs leave this argument out.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
