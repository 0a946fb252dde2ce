"""Files are whole or absent, also on disks that fill up, and half-written ones are recognised and removed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from brainspade_cli.errors import BrainspadeError, InputError
from brainspade_cli.files import create_json, disk_errors, remove_partials, replacing, write_text
from brainspade_cli.nnunet.planes import write_whole


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(*_: object) -> None:
    raise SystemExit


def test_a_failed_write_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"


def test_a_write_that_numpy_finds_cut_short_is_an_error_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cut short: 8 requested and 3 written") as caught, replacing(tmp_path / "a.npy"):
        raise OSError("8 requested and 3 written")
    assert caught.value.filename == str(tmp_path / "a.npy")


def test_of_two_files_written_together_the_failing_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a"), replacing(tmp_path / "b") as second:
        second.read_text()
    assert caught.value.filename == str(tmp_path / "b")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_created_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EPERM, "no links")))
    assert create_json(tmp_path / "run.json", {"of": "first"})
    assert not create_json(tmp_path / "run.json", {"of": "second"})
    assert json.loads((tmp_path / "run.json").read_text()) == {"of": "first"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_what_kills_leave_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"case.nii.gz", ".hidden", ".partial.notes.txt", "abcdef01.partial.x", ".profile.partial"}
    for name in kept:
        (tmp_path / name).touch()
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        for write in (lambda: write_text(tmp_path / "run.json", "x"), lambda: write_whole(tmp_path / "a.png", b"x")):
            with pytest.raises(SystemExit):
                write()
    assert len(list(tmp_path.iterdir())) == len(kept) + 2
    remove_partials(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == kept


def test_what_the_disk_refuses_is_told_with_the_remedy(tmp_path: Path) -> None:
    with (
        pytest.raises(
            BrainspadeError, match=rf"^{tmp_path} could not be written \(No space.*\); .* and go on with it\.$"
        ),
        disk_errors(tmp_path, "go on with it"),
    ):
        full_disk()


@pytest.mark.parametrize("place", ["a-file", "a-file/inside", "x" * 300, "loop/inside"])
def test_a_place_that_cannot_be_written_to_was_the_wrong_one_to_name(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"could not be written \(.*choose another place"), disk_errors(tmp_path):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
