"""Ctrl-C and SIGTERM during a training, which finishes its step and saves a checkpoint before it leaves."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from brainspade_cli.stopping import TERMINATED, in_its_own_time

SAME_SIGNAL_SECONDS = 2.0


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list while the block runs.

    A second SIGINT interrupts at once, unless it comes with the first: torchrun passes on what its children got too.
    """
    received: list[int] = []
    first = 0.0
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if number == signal.SIGINT and received and time.monotonic() - first > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt
        first = first if received else time.monotonic()
        received.append(number)

    with in_its_own_time():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield received
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    # Those that came too late for the last step to see are for whatever comes next.
    if received:
        signal.raise_signal(received[0])


def interruption(received: list[int]) -> BaseException:
    """What to leave with: as the signal's default would; a process that was told by its peers counts as interrupted."""
    return SystemExit(TERMINATED) if signal.SIGTERM in received else KeyboardInterrupt()
