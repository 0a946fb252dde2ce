"""Batches read ahead: while one step computes, a thread prepares the next one's batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass
class Prefetch(Generic[Item]):
    """Iterates over `(step, make(step))` for the steps, each made in a thread while the one before is in use.

    `waited` counts the seconds that the user of the iterator had to wait: the share of a training in which the data are
    the bottleneck. What `make` raises is raised where its step would have come.
    """

    make: Callable[[int], Item]
    steps: range
    waited: float = field(default=0.0, init=False)

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
            coming = thread.submit(self.make, self.steps[0]) if self.steps else None
            for step in self.steps:
                assert coming is not None
                begun = time.perf_counter()
                item = coming.result()
                self.waited += time.perf_counter() - begun
                following = step + self.steps.step
                coming = thread.submit(self.make, following) if following in self.steps else None
                yield step, item
