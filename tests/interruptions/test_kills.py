"""Commands killed at any moment: the same command then finishes, with the result of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence

import pytest

from tests.interruptions.conftest import Scene
from tests.interruptions.faults import Fault
from tests.interruptions.scenes import COMMANDS, FURTHER

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes")
KILLS_A_COMMAND = 12
SIGNALS_A_COMMAND = 3
# One that starts from other weights shows what the other does.
QUICK_FIRST = [*COMMANDS, FURTHER[0], *(pytest.param(command, marks=pytest.mark.slow) for command in FURTHER[1:])]


@pytest.mark.parametrize("command", QUICK_FIRST)
def test_a_killed_command_goes_on_to_the_same_result(scene: Callable[..., Scene], command: str) -> None:
    """Killed half-way, then again, in the middle of a write, soon after it has taken up its work."""
    here = scene(command)
    assert here.run(here.at(0.6)).code == -signal.SIGKILL
    here.run(here.at(0.1, "tear"))
    here.require_whole()


@pytest.mark.parametrize(("command", "changes"), [("prepare", range(1, 7)), ("sample", (2, 5))])
def test_a_command_killed_at_its_very_start_is_not_locked_out(
    scene: Callable[..., Scene], command: str, changes: Sequence[int]
) -> None:
    """Killed again and again before and while it makes its folders and writes down what it begins."""
    here = scene(command)
    for change in changes:
        ended = here.run(Fault(change, "tear"))
        assert ended.code == -signal.SIGKILL, ended.said
    here.require_whole()


@pytest.mark.parametrize(
    ("command", "record"),
    [
        ("sample", "/run.json"),
        ("sample", "/dataset.json"),
        ("export-nnunet", "/export.json"),
        ("export-nnunet", "/dataset.json"),
        ("prepare", "/report.tsv"),
    ],
)
def test_half_written_records_do_not_stay(scene: Callable[..., Scene], command: str, record: str) -> None:
    """Killed when a record is whole and has not yet got its name."""
    here = scene(command)
    assert here.run(Fault(on=record)).code == -signal.SIGKILL
    assert len(list(here.out.rglob(f".*.partial.{record[1:]}"))) == 1
    here.require_whole()


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, *FURTHER])
def test_random_kills(scene: Callable[..., Scene], command: str) -> None:
    """Each time a new run, killed once or twice before or in a random change to the disk, and then gone on with."""
    here = scene(command)
    random_ = random.Random(command)
    killed = 0
    for turn in range(KILLS_A_COMMAND):
        here = here.elsewhere(f"kill-{turn}")
        for _ in range(random_.choice((1, 1, 2))):
            ended = here.run(Fault(random_.randint(1, here.changes), random_.choice(("kill", "tear"))))
            # A second kill may come to a run that has less left to do.
            assert ended.code in (-signal.SIGKILL, 0), ended.said
            killed += ended.code != 0
        here.require_whole()
    assert killed >= KILLS_A_COMMAND


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", COMMANDS)
def test_signals_at_random_times(scene: Callable[..., Scene], command: str, number: signal.Signals) -> None:
    here = scene(command)
    random_ = random.Random(f"{command} {number}")
    begun = time.monotonic()
    here.elsewhere("timed").require_whole()
    seconds = time.monotonic() - begun
    hits = 0
    for turn in range(3 * SIGNALS_A_COMMAND):
        here = here.elsewhere(f"signal-{turn}")
        under_way = here.start()
        under_way.wait_until_begun()
        time.sleep(random_.uniform(0.05, 0.9) * seconds)
        under_way.send(number)
        ended = under_way.end()
        # 0 where the signal came too late.
        assert ended.code in (-9 if number == signal.SIGKILL else 128 + number, 0), ended.said
        assert "Traceback" not in ended.said
        if ended.code > 0:
            assert "is kept, and the same command goes on from " in ended.said.splitlines()[-1]
        here.require_whole()
        hits += ended.code != 0
        if hits == SIGNALS_A_COMMAND:
            break
    assert hits
