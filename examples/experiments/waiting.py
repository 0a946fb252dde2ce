"""Two runs in one folder: what both need is made by one, and the other waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainspade_cli.console import Reporter
from brainspade_cli.locks import hold, let_go


@contextmanager
def in_turn(path: Path, name: str, reporter: Reporter) -> Iterator[None]:
    """Hold the lock file `path`, once another run that is at work on the same is through with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = hold(path)
    if handle is None:
        reporter.say(f"{name}: another run is at work on it; waiting until it is through.")
    while handle is None:
        time.sleep(1)
        handle = hold(path)
    try:
        yield
    finally:
        let_go(path, handle)
