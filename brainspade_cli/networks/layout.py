"""How weights and images lie in memory."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

LaidOut = TypeVar("LaidOut", bound=nn.Module | Tensor)


def channels_last(what: LaidOut) -> LaidOut:
    """The same network, its weights laid out with channels last, or such a tensor (B, C, X, Y).

    Faster at much resolution and few channels.
    """
    # The library's type stubs leave this argument of modules out.
    laid_out: LaidOut = what.to(memory_format=torch.channels_last)  # type: ignore[assignment,call-overload]
    return laid_out
