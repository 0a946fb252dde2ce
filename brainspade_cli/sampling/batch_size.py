"""How many labels or images a device computes at once, which memory has the last word on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from brainspade_cli.devices import Compute
from brainspade_cli.errors import BrainspadeError


class BatchSize:
    """How many of `noun` ("image") are `done` ("painted") at once; several threads may ask and halve.

    `on_notice` is told when memory runs out and fewer are done at once from then on.
    """

    def __init__(self, size: int, noun: str, done: str, compute: Compute, on_notice: Callable[[str], None]) -> None:
        self.size = size
        self._noun, self._done = noun, done
        self._compute = compute
        self._on_notice = on_notice
        self._lock = threading.Lock()

    def halve(self, together: int, error: Exception) -> None:
        """Go on with half of `together`, which were too many; once, though several threads may find so at a time.

        Raises BrainspadeError, from `error`, where `together` is one.
        """
        if together == 1:
            raise BrainspadeError(
                f"The memory of {self._compute.describe()} does not hold even one {self._noun}; use --device cpu."
            ) from error
        with self._lock:
            if self.size >= together:
                self.size = together // 2
                torch.cuda.empty_cache()
                self._on_notice(
                    f"The device ran out of memory; {self._noun}s are now {self._done} {self.size} at a time."
                )
