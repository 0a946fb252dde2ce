"""Hostile inputs, run in forked children under a time and a memory bound: what each case came to, and why."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brainspade_cli.errors import BrainspadeError

# Of the processor, for what never ends; and by the clock, for what waits for ever, however busy the machine is.
SECONDS = 30.0
PATIENCE = 240.0
CHUNK = 25
# What a case may take beyond what the process had when it began.
MEMORY = 3 * 2**30
LONGEST_MESSAGE = 50_000
# Outcomes that are as they should be; any other is a defect.
GOOD = frozenset({"accepted", "refused"})


@dataclass(frozen=True)
class Case:
    """One hostile input, ready to be fed in. `run` opens it; a refusal must name one of `names`.

    It may write below `in/out` alone, and removes nothing there but what `replaces` begins the name of.
    """

    what: str
    run: Callable[[], object]
    names: tuple[str, ...]
    replaces: str | None = None


@dataclass(frozen=True)
class Target:
    """An entry point under attack: `build(folder, generator)` makes the case of one number in an empty folder."""

    name: str
    build: Callable[[Path, np.random.Generator], Case]


@dataclass
class Result:
    """What became of the cases of one target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)


class _TooLongError(BaseException):
    """The time of a case is up."""


def attack(target: Target, numbers: Iterable[int], seed: int, root: Path) -> Result:
    """Run the cases of these numbers; a case is the same whenever its number and the seed are."""
    result = Result()
    waiting = list(numbers)
    while waiting:
        chunk, waiting = waiting[:CHUNK], waiting[CHUNK:]
        lines = _in_child(target, chunk, seed, root)
        for line in lines:
            _count(result, target, line)
        if len(lines) < len(chunk):
            what = (root / "last.txt").read_text()
            _count(result, target, {"number": chunk[len(lines)], "outcome": "died", "what": what, "detail": ""})
            waiting = chunk[len(lines) + 1 :] + waiting
    return result


def _count(result: Result, target: Target, line: dict[str, object]) -> None:
    outcome = str(line["outcome"])
    result.outcomes[outcome] += 1
    if outcome not in GOOD:
        result.defects.append(f"{target.name} {line['number']} [{line['what']}]: {outcome}: {line['detail']}")


def _in_child(target: Target, numbers: list[int], seed: int, root: Path) -> list[dict[str, object]]:
    """Outcomes of as many of the cases, in order, as a child process lived to tell."""
    root.mkdir(parents=True, exist_ok=True)
    log = root / "outcomes.jsonl"
    log.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            _run_all(target, numbers, seed, root, log)
        except BaseException:
            (root / "last.txt").write_text(traceback.format_exc()[-1500:])
        finally:
            os._exit(0)
    told, patience = -1, time.monotonic() + PATIENCE + 30
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        size = log.stat().st_size if log.exists() else 0
        if size != told:
            told, patience = size, time.monotonic() + PATIENCE + 30
        if time.monotonic() > patience:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.005)
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _run_all(target: Target, numbers: list[int], seed: int, root: Path, log: Path) -> None:
    signal.signal(signal.SIGALRM, _ring)
    signal.signal(signal.SIGPROF, _ring)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    with open(log, "w") as handle, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        for number in numbers:
            folder = root / "case"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            outcome = _run_one(target, number, seed, folder)
            handle.write(json.dumps({"number": number, **outcome}) + "\n")
            handle.flush()


def _ring(*_: object) -> None:
    raise _TooLongError


def _run_one(target: Target, number: int, seed: int, folder: Path) -> dict[str, str]:
    generator = np.random.default_rng([seed, *target.name.encode(), number])
    (folder / "in").mkdir()
    case = target.build(folder / "in", generator)
    (folder.parent / "last.txt").write_text(case.what, errors="backslashreplace")
    before = _contents(folder)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        outcome, detail = _outcome(case)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    changed = [name for name, mark in _contents(folder).items() if before.get(name) != mark]
    outside = [name for name in changed if not name.startswith("in/out")]
    gone = [
        name
        for name in sorted(before.keys() - _contents(folder).keys())
        if case.replaces is None or not name.startswith(f"in/out/{case.replaces}")
    ]
    if outcome in GOOD and (outside or gone):
        outcome, detail = "outside", f"{outside} {gone}"
    noisy = [note for note in heard if issubclass(note.category, (RuntimeWarning, UserWarning))]
    if outcome in GOOD and noisy:
        outcome, detail = "noisy", f"{noisy[0].filename}:{noisy[0].lineno}: {noisy[0].message}"
    return {"outcome": outcome, "what": case.what, "detail": detail}


def _outcome(case: Case) -> tuple[str, str]:
    try:
        case.run()
    except BrainspadeError as error:
        message = str(error)
        if "\n" in message or len(message) > LONGEST_MESSAGE or not message.endswith("."):
            return "no sentence", message
        if not any(name in message for name in case.names):
            return "names no file", message
        return "refused", ""
    except _TooLongError:
        return "hang", "".join(traceback.format_exc()[-1500:])
    except MemoryError:
        return "memory", "".join(traceback.format_exc()[-1500:])
    except BaseException as error:
        return type(error).__name__, "".join(traceback.format_exc()[-1500:])
    return "accepted", ""


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time; nothing is opened, and no link followed."""
    found: dict[str, tuple[int, int]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = (status.st_size, status.st_mtime_ns)
    return found
