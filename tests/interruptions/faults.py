"""Faults on purpose: a command of brainspade in a process of its own, and what befalls it at a chosen moment.

Python reports every opening, renaming, making and removing of a file to an audit hook before it happens. So "before the
k-th change to the output folder" is the same moment in every run, and all moments at which the disk looks different can
be tried. The processes are forked from one that has imported everything, which takes a second in place of ten.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}
SECONDS = 240.0


@dataclass(frozen=True)
class Fault:
    """What befalls a command before change number `at` to its output folder (from 1), or before it names a file `on`.

    "kill": SIGKILL. "tear": SIGKILL in the middle of a write, where the change is one. "stop": SIGSTOP. "lose": the
    output folder is gone.
    """

    at: int = 0
    what: str = "kill"
    on: str = ""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative: the signal that killed it), what it said, changes that it made."""

    code: int
    said: str
    changes: int


class Command:
    """`brainspade ARGUMENTS`, under way in a process of its own; `folder` takes what it says."""

    def __init__(
        self, arguments: Sequence[str], out: Path, folder: Path, fault: Fault, environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("begun", "changes"):
            (folder / name).unlink(missing_ok=True)
        work = (arguments, out, folder, fault, dict(environment))
        self.process: ForkServerProcess = _context().Process(target=_work, args=work)
        self.process.start()

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, unless it has ended."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def wait_until_begun(self) -> None:
        """Wait until the command itself has begun."""
        end = time.monotonic() + SECONDS
        while not (self.folder / "begun").exists():
            assert time.monotonic() < end, "it does not begin"
            time.sleep(0.01)

    def wait_until_stopped(self) -> None:
        """Wait for the fault "stop"."""
        status = Path(f"/proc/{self.process.pid}/stat")
        end = time.monotonic() + SECONDS
        while status.read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < end, "it does not come to its fault"
            time.sleep(0.02)

    def end(self) -> Ended:
        """Wait for the end. A command that hangs is killed and fails the test."""
        self.process.join(SECONDS)
        hangs = self.process.exitcode is None
        if hangs:
            self.process.kill()
            self.process.join()
        said = (self.folder / "said").read_text()
        assert not hangs, f"no end within {SECONDS:.0f} s: {said}"
        changes = self.folder / "changes"
        return Ended(int(self.process.exitcode or 0), said, int(changes.read_text()) if changes.exists() else 0)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.interruptions.preload"])
    # Of the server, when it starts, and so of every process that it forks.
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
    os.environ.update(quiet, PYTHONPATH=str(ROOT))
    return context


def _work(arguments: list[str], out: Path, folder: Path, fault: Fault, environment: dict[str, str]) -> None:
    import torch

    from brainspade_cli import cli
    from tests.interruptions.small import make_small

    os.environ.update(environment)
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    torch.set_num_threads(1)
    make_small(arguments[0])
    sys.argv = ["brainspade", *arguments]
    counted = [0]
    sys.addaudithook(_hook(out, fault, counted))
    (folder / "begun").touch()
    try:
        cli.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / "changes").write_text(str(counted[0]))


def _hook(out: Path, fault: Fault, counted: list[int]) -> Callable[[str, tuple[Any, ...]], None]:
    watched = str(out)
    befallen: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | os.PathLike) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in CHANGES:
            path, flags = arguments[0], 0
        else:
            return
        name = os.fspath(path)
        # Names relative to an open folder are those of a tree that is being removed.
        if isinstance(name, bytes) or (os.path.isabs(name) and not name.startswith(watched)):
            return
        counted[0] += 1
        named = bool(fault.on) and event in ("os.link", "os.rename") and str(arguments[1]).endswith(fault.on)
        if befallen or not (counted[0] == fault.at or named):
            return
        befallen.append(event)
        if fault.what == "lose":
            os.rename(watched, f"{watched}-lost-{os.getpid()}")
        elif fault.what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            if fault.what == "tear" and event == "open":
                _tear(name, flags)
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _tear(path: str, flags: int) -> None:
    """Leave what a process leaves that is killed while it writes. A file that is whole already stays so."""
    if flags & os.O_APPEND:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b'{"case": "brain')
    elif flags & (os.O_CREAT | os.O_TRUNC) or "partial" in path:
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
        os.write(handle, b"\x1f\x8b\x08torn")
