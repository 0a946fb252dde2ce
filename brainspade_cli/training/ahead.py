"""Batches made ready in threads while an accelerator computes on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def made_ahead(make: Callable[[int], T], steps: range, ahead: int) -> Iterator[Iterator[T]]:
    """Yield an iterator over `make(step)` for the steps in their order, up to `ahead` of them made beforehand.

    With 0 each is made when it is asked for, in this thread. What `make` raises comes when its step is asked for. On
    leaving the block, what nobody asked for is dropped.
    """
    if ahead == 0:
        yield map(make, steps)
        return
    threads = ThreadPoolExecutor(ahead, thread_name_prefix="batches")
    try:
        yield _in_order(threads, make, steps, ahead)
    finally:
        threads.shutdown(cancel_futures=True)


def _in_order(threads: ThreadPoolExecutor, make: Callable[[int], T], steps: range, ahead: int) -> Iterator[T]:
    waiting: deque[Future[T]] = deque(threads.submit(make, step) for step in steps[:ahead])
    for step in steps:
        if step + ahead in steps:
            waiting.append(threads.submit(make, step + ahead))
        yield waiting.popleft().result()
