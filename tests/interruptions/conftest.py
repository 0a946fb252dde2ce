"""Every command once undisturbed, to hold the disturbed ones against."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.interruptions.faults import Command, Ended, Fault
from tests.interruptions.scenes import arguments, make_inputs, outcome

NONE = Fault()


@dataclass(frozen=True)
class Scene:
    """A command with its inputs, an output folder `out`, and what an undisturbed run makes there.

    `notes` takes what the command says; it does not lie on a disk that is made to fail.
    """

    command: str
    inputs: Path
    notes: Path
    out: Path
    whole: Mapping[str, bytes]
    changes: int

    def start(self, fault: Fault | None = None, name: str = "run", *more: str, **environment: str) -> Command:
        """Start the command; `more` arguments follow its own."""
        line = [*arguments(self.command, self.inputs, self.out), *more]
        return Command(line, self.out, self.notes / name, fault or NONE, environment)

    def run(self, fault: Fault | None = None, *more: str, **environment: str) -> Ended:
        """Run the command to its end."""
        return self.start(fault, "run", *more, **environment).end()

    def run_line(self, line: list[str], **environment: str) -> Ended:
        """Run another command line to its end."""
        return Command(line, self.out, self.notes / "run", NONE, environment).end()

    def elsewhere(self, name: str) -> Scene:
        """The same with another output folder."""
        return replace(self, out=self.out.with_name(name))

    def at(self, place: float, what: str = "kill") -> Fault:
        """A fault at a share of the changes that an undisturbed run makes."""
        return Fault(max(1, round(place * self.changes)), what)

    def require_whole(self) -> None:
        """Finish the command, and see that its result is the undisturbed one's."""
        ended = self.run()
        assert ended.code == 0, ended.said
        made = outcome(self.out)
        assert [name for name in sorted({*made, *self.whole}) if made.get(name) != self.whole.get(name)] == []


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple]:
    """What an undisturbed run of a command makes: files, and number of changes to the disk. Each is run once."""
    known: dict[str, tuple] = {}

    def get(command: str) -> tuple:
        if command not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            line = arguments(command, inputs, folder / "out")
            ended = Command(line, folder / "out", folder / "run", Fault(), {}).end()
            assert ended.code == 0, ended.said
            known[command] = (outcome(folder / "out"), ended.changes)
        return known[command]

    return get


@pytest.fixture
def scene(inputs: Path, undisturbed: Callable[[str], tuple], tmp_path: Path) -> Callable[..., Scene]:
    """Make the scene of a command, its output in `where` or in a folder of the test's own."""

    def make(command: str, where: Path = tmp_path) -> Scene:
        return Scene(command, inputs, tmp_path, where / "out", *undisturbed(command))

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system with these options, or change them; skips where mounting one is not possible."""
    place = tmp_path / "disk"

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if os.path.ismount(place) else ["-o", options]
        place.mkdir(exist_ok=True)
        try:
            subprocess.run(["mount", "-t", "tmpfs", *again, "tmpfs", str(place)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a small file system cannot be mounted here ({error})")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)
