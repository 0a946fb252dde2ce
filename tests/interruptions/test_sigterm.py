"""SIGTERM, as schedulers send it: a sentence and exit code 143 within seconds, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.interruptions.conftest import Scene
from tests.interruptions.faults import ROOT
from tests.interruptions.scenes import COMMANDS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")
# Two seconds by themselves; machines that run tests are busy.
SECONDS = 20.0
QUICK = ("sample", "export-nnunet")
QUICK_FIRST = [command if command in QUICK else pytest.param(command, marks=pytest.mark.slow) for command in COMMANDS]
# A library's long call: it lets other threads run, and lets Python's signal handlers wait.
LONG_CALL = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
WATCHED = """
import hashlib, sys, time
from brainspade_cli.stopping import in_its_own_time, sigterm_interrupts
try:
    with sigterm_interrupts(lambda: "last words") as received:
        print("begun", flush=True)
        {work}
except KeyboardInterrupt:
    sys.exit(1)
"""


@pytest.mark.parametrize("command", QUICK_FIRST)
def test_sigterm_ends_with_a_sentence_and_is_gone_on_from(scene: Callable[..., Scene], command: str) -> None:
    here = scene(command)
    under_way = here.start(here.at(0.5, "stop"))
    under_way.wait_until_stopped()
    under_way.send(signal.SIGTERM)
    begun = time.monotonic()
    under_way.send(signal.SIGCONT)
    ended = under_way.end()
    assert time.monotonic() - begun < SECONDS
    assert ended.code == 143, ended.said
    assert ended.said.count("stopped by SIGTERM; ") == 1
    assert "is kept, and the same command goes on from " in ended.said.splitlines()[-1]
    assert "Traceback" not in ended.said
    here.require_whole()


def watched(work: str) -> subprocess.Popen[str]:
    """Python at `work` with SIGTERM looked after, once it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED.format(work=work)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    # It says so, and then begins.
    time.sleep(1)
    return process


def test_a_call_that_python_cannot_interrupt_is_ended() -> None:
    process = watched(LONG_CALL)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, said) == (143, "last words")


def test_threads_that_go_on_do_not_keep_it() -> None:
    process = watched(f"""
        import threading
        threading.Thread(target=lambda: {LONG_CALL}).start()
        print("at work", flush=True)
        time.sleep(99)""")
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 143
    assert said.endswith("last words")


def test_a_second_sigterm_does_not_cut_the_tidying_short() -> None:
    process = watched("""
        try: time.sleep(99)
        finally:
            print("tidying", flush=True); time.sleep(0.5); print("tidy")""")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "tidying\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=SECONDS)[0] == "tidy\n"


def test_what_has_its_own_handler_takes_its_time() -> None:
    """As a training does, which finishes its step and saves a checkpoint."""
    process = watched("""
        with in_its_own_time():
            import signal; signal.signal(signal.SIGTERM, lambda *_: received.append(0))
            print("training", flush=True)
            while not received: time.sleep(0.1)
            time.sleep(3); print("saved", flush=True)""")
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGTERM)
    told, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, told, said) == (0, "saved\n", "")
