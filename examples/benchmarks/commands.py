"""The whole command in a process of its own: seconds, seconds until the first pair, and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Measured:
    """One run of `brainspade sample`. `first` is when the first label lay on disk; `memory` the peak in bytes."""

    pairs: int
    seconds: float
    first: float
    memory: int


def sample_command(styles: Sequence[str], folder: Path, pairs: int, options: list[str]) -> Measured:
    """Run `brainspade sample` and watch it; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "brainspade_cli.cli", "sample", "--n", str(pairs), "--out", str(folder), "--quiet"]
    command += [*(part for style in styles for part in ("--style", style)), *options]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    labels, first, memory = folder / "labelsTr", 0.0, 0
    while True:
        memory = max(memory, peak_so_far(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if not first and labels.is_dir() and any(entry.name[0] != "." for entry in os.scandir(labels)):
            first = time.perf_counter() - begun
        if ended:
            break
        time.sleep(POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(pairs, time.perf_counter() - begun, first, memory or usage.ru_maxrss * 1024)


def peak_so_far(pid: int) -> int:
    """Peak resident memory of a process in bytes, 0 where the system does not say.

    What wait4 gives at the end counts the moments before the command was loaded, when the memory was still this one's.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
