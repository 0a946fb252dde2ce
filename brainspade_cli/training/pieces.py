"""The gradient of a batch, added up over pieces of it where the device's memory cannot hold it whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from brainspade_cli.errors import TrainingError

# What the losses are computed from, on the device: every tensor's first dimension is the batch.
Batch = dict[str, Tensor]
# The value to minimise, a mean over the examples of the batch, and the terms to log.
Loss = Callable[[Batch, int], tuple[Tensor, dict[str, Tensor]]]


class Pieces:
    """How many pieces a batch is gone through in: one, and twice as many each time that memory runs out."""

    def __init__(self, on_notice: Callable[[str], None]) -> None:
        self.count = 1
        self.on_notice = on_notice

    def cut(self, batch: Batch) -> list[Batch]:
        """A batch in `count` pieces, or as near to that as whole examples allow."""
        return _cut(batch, -(-_size(batch) // self.count))

    def finer(self, pieces: list[Batch]) -> list[Batch]:
        """The same examples in twice as many pieces, from now on; raises TrainingError where each holds one example."""
        largest = max(_size(piece) for piece in pieces)
        if largest == 1:
            raise TrainingError(
                "The device's memory cannot hold the training even with one example at a time; choose a smaller preset "
                "or a device with more memory."
            )
        self.count *= 2
        half = -(-largest // 2)
        self.on_notice(f"The device ran out of memory; batches are now gone through {half} examples at a time.")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return [part for piece in pieces for part in _cut(piece, half)]


def add_gradients(
    loss: Loss, pieces: list[Batch], step: int, autocast: Callable[[], torch.autocast]
) -> Mapping[str, Tensor]:
    """Add the gradient of the mean of `loss` over all examples to the parameters that take one.

    Returns the means of the loss, as "total", and of its terms. Raises torch.OutOfMemoryError as it comes.
    """
    size = sum(_size(piece) for piece in pieces)
    means: dict[str, Tensor] = {}
    for piece in pieces:
        share = _size(piece) / size
        with autocast():
            total, terms = loss(piece, step)
        (share * total).backward()
        for name, value in {"total": total, **terms}.items():
            part = share * value.detach().float()
            means[name] = means[name] + part if name in means else part
    return means


def _size(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _cut(batch: Batch, each: int) -> list[Batch]:
    """Consecutive pieces of `each` examples; the last may have fewer."""
    return [
        {name: value[first : first + each] for name, value in batch.items()} for first in range(0, _size(batch), each)
    ]
