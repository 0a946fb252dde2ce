"""Locks: one holder at a time, nobody held up by the dead, and work goes on where there are no locks."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from brainspade_cli.errors import DatasetError
from brainspade_cli.locks import alone, hold, let_go

BUSY = DatasetError("somebody is at work")


def test_the_second_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with (
        alone(tmp_path / ".lock", BUSY),
        pytest.raises(DatasetError, match="somebody"),
        alone(tmp_path / ".lock", BUSY),
    ):
        pass
    with alone(tmp_path / ".lock", BUSY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with alone(tmp_path / ".lock", BUSY):
        pass


def test_a_file_system_without_locks_is_worked_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with alone(tmp_path / ".lock", BUSY), alone(tmp_path / ".lock", BUSY):
        pass


def test_a_conflict_that_a_network_disk_tells_as_no_access_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", held)
    with pytest.raises(DatasetError, match="somebody"), alone(tmp_path / ".lock", BUSY):
        pass
    assert (tmp_path / ".lock").exists()


def test_who_lost_its_folder_takes_no_lock_of_others_away(tmp_path: Path) -> None:
    with alone(tmp_path / ".lock", BUSY):
        (tmp_path / ".lock").unlink()
        theirs = hold(tmp_path / ".lock")
        assert theirs is not None
    assert hold(tmp_path / ".lock") is None
    let_go(tmp_path / ".lock", theirs)
    assert not (tmp_path / ".lock").exists()
