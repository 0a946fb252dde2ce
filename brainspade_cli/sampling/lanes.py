"""Work on a CPU in lanes: whole pieces of it side by side, one thread each.

How many threads share a convolution decides in which order its terms are added up, and so the last bits of the result.
A piece with a lane to itself comes out the same on two cores and on sixty-four, and the cores are as busy as they would
be together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes:
    """Worker threads in which torch uses one thread each: `count`, by default as many as torch would use.

    Use it as a context manager; leaving the block waits for the work that is under way.
    """

    def __init__(self, count: int | None = None) -> None:
        threads = torch.get_num_threads()
        self.count = threads if count is None else count
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="lane")
        # A thread's own setting stays with it, but torch also hands the latest one on to threads yet to come: so all
        # lanes take theirs now, and then the setting goes back.
        everybody = threading.Barrier(self.count + 1)
        try:
            for _ in range(self.count):
                self._pool.submit(_use_one_thread, everybody)
        except RuntimeError:  # no more threads are to be had, and those that came would wait for ever
            everybody.abort()
            self._pool.shutdown()
            raise
        everybody.wait()
        torch.set_num_threads(threads)

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order; as many items are in work or waiting as there are lanes."""
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(self._pool.submit(function, item))
            if len(waiting) > self.count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _use_one_thread(everybody: threading.Barrier) -> None:
    # Asked once, a thread has its setting and does not take torch's latest at its first parallel region.
    torch.get_num_threads()
    torch.set_num_threads(1)
    everybody.wait()
