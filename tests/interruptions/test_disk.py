"""Disks that fill up, cannot be written to or lose the folder, and two runs at once: a sentence, and nothing lost."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interruptions.conftest import Scene
from tests.interruptions.faults import Ended
from tests.interruptions.scenes import COMMANDS

KB = 1024
# Those with networks take seconds each time.
QUICK = ("prepare", "export-nnunet")
QUICK_FIRST = [command if command in QUICK else pytest.param(command, marks=pytest.mark.slow) for command in COMMANDS]


def require_sentence(ended: Ended, code: int, pattern: str) -> None:
    """The command ended with one sentence that says what was wrong."""
    assert ended.code == code, ended.said
    assert "Traceback" not in ended.said, ended.said
    errors = re.findall(r"^error: .*$", ended.said, re.MULTILINE)
    assert len(errors) == 1, ended.said
    assert re.search(pattern, errors[0]), errors[0]


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize("command", QUICK_FIRST)
def test_a_full_disk_is_said_and_room_is_all_it_takes(
    scene: Callable[..., Scene], small_disk: Callable[[str], Path], command: str, share: float
) -> None:
    here = scene(command)
    size = sum(-(-len(content) // (4 * KB)) * 4 for content in here.whole.values())
    here = scene(command, small_disk(f"size={int(share * size)}k"))
    require_sentence(here.run(), 1, r"could not be written \(.*No space left on device")
    small_disk(f"size={5 * size + 1000}k")
    here.require_whole()


@pytest.mark.parametrize("command", QUICK_FIRST)
def test_a_disk_that_cannot_be_written_to_is_said(
    scene: Callable[..., Scene], small_disk: Callable[[str], Path], command: str
) -> None:
    here = scene(command, small_disk("ro"))
    require_sentence(here.run(), 1, r"could not be written \(.*Read-only file system")


@pytest.mark.parametrize("command", QUICK_FIRST)
def test_a_folder_that_is_lost_under_way_is_said(scene: Callable[..., Scene], command: str) -> None:
    here = scene(command)
    ended = here.run(here.at(0.7, "lose"))
    require_sentence(ended, ended.code, "could not be written|cannot be read|is not")
    assert ended.code in (1, 2)
    here.require_whole()


@pytest.mark.parametrize("command", QUICK_FIRST)
def test_the_second_of_two_runs_says_so_and_stops(scene: Callable[..., Scene], command: str) -> None:
    here = scene(command)
    # In the midst of a stage: between two nobody is at work, and a bundle that is updated is waited for.
    first = here.start(here.at(0.8 if command == "train-labels" else 0.5, "stop"), "first")
    first.wait_until_stopped()
    second = here.run()
    first.send(signal.SIGCONT)
    assert first.end().code == 0
    require_sentence(second, 2, "[Aa]nother .*at work")
    here.require_whole()
