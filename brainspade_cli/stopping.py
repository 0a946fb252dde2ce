"""SIGTERM, which a scheduler sends some seconds before it kills: taken like Ctrl-C, and answered within two seconds."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + 15
# For a run to come to its next safe point. A kill at any other moment costs no more than what is under way.
GRACE_SECONDS = 1.5


@contextmanager
def sigterm_interrupts(last_words: Callable[[], str]) -> Iterator[list[int]]:
    """Make SIGTERM a KeyboardInterrupt while the block runs, once, and note it in the yielded list.

    A process that has not ended `GRACE_SECONDS` later, because a library's long call keeps Python from seeing the
    signal or threads are still at work, writes `last_words` and ends with `TERMINATED`, also after the block. Does
    nothing but yield outside the main thread and on Windows.
    """
    received: list[int] = []
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        # A scheduler and torchrun may both send it: the second must not cut short what the first began to tidy up.
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    told, ended = os.pipe()
    os.set_blocking(ended, False)
    handler = signal.signal(signal.SIGTERM, note)
    # The system's own handler writes each signal's number here, whatever Python is doing.
    waker = signal.set_wakeup_fd(ended, warn_on_full_buffer=False)
    watch = threading.Thread(target=_end_in_time, args=(told, last_words), daemon=True, name="sigterm")
    watch.start()
    try:
        yield received
    finally:
        if not received:
            signal.set_wakeup_fd(waker)
            signal.signal(signal.SIGTERM, handler)
            os.close(ended)
            watch.join()
            os.close(told)


def _end_in_time(told: int, last_words: Callable[[], str]) -> None:
    """Wait for SIGTERM, then for the process to end by itself, and then end it. Returns when the pipe is closed."""
    while number := os.read(told, 1):
        if number[0] == signal.SIGTERM:
            select.select([], [], [], GRACE_SECONDS)
            os.write(2, last_words().encode())
            os._exit(TERMINATED)


@contextmanager
def in_its_own_time() -> Iterator[None]:
    """Let a block that has a SIGTERM handler of its own come to its end, however long that takes."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    waker = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
