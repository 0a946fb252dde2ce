"""Checkpoints under faults: whatever befalls the newest, the one before is there, and no other is lost for it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from brainspade_cli import tensors
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import BrainspadeError, InputError, TrainingError
from brainspade_cli.training import checkpoints, loop
from brainspade_cli.training.checkpoints import newest_checkpoint
from brainspade_cli.training.losslog import LossLog
from brainspade_cli.training.machine import Machine, open_machine
from tests.sampling.parts import tiny_bundle
from tests.training.test_loop import assert_same
from tests.training.toy import run_toy, stop_at, toy_stage


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of the toy, with checkpoints of the last two."""
    folder = tmp_path_factory.mktemp("toy")
    run_toy(folder, toy_stage(4))
    return folder


def step_of(folder: Path) -> int:
    found = newest_checkpoint(folder)
    return 0 if found is None else int(found[1]["step"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["tensors.safetensors", "state.json"]),
    how=st.sampled_from(["cut", "flip", "grow", "remove"]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_damaged_newest_checkpoint_is_never_taken(trained: Path, name: str, how: str, place: float, bit: int) -> None:
    path = trained / "checkpoint-00000004" / name
    whole = path.read_bytes()
    at = int(place * len(whole))
    damaged = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :],
        "grow": whole[:at] + b"}" + whole[at:],
        "remove": b"",
    }[how]
    try:
        if how == "remove":
            path.unlink()
        else:
            path.write_bytes(damaged)
        found = newest_checkpoint(trained)
        assert found is not None
        assert found[0].name in ("checkpoint-00000003", "checkpoint-00000004")
        if found[0].name == "checkpoint-00000004":
            # White space, or the name of the hash itself.
            assert name == "state.json"
            path.write_bytes(whole)
            kept = newest_checkpoint(trained)
            assert kept is not None
            assert {key: found[1][key] for key in kept[1]} == kept[1]
    finally:
        path.write_bytes(whole)


def test_no_byte_of_a_checkpoints_settings_may_change(trained: Path) -> None:
    path = trained / "checkpoint-00000004" / "state.json"
    whole = path.read_bytes()
    kept = newest_checkpoint(trained)
    assert kept is not None
    taken = 0
    try:
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            found = newest_checkpoint(trained)
            assert found is not None
            if found[0] == kept[0]:
                taken += 1
                assert {key: found[1][key] for key in kept[1]} == kept[1]
    finally:
        path.write_bytes(whole)
    # Letters in the name of the file's own hash, without which it is taken for an early checkpoint.
    assert taken <= len("own_sha256")


def test_damaged_checkpoints_are_told_and_do_not_push_out_whole_ones(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With both damaged a training begins anew, and keeps what it then saves though their steps are higher."""
    run_toy(tmp_path / "straight", toy_stage(4))
    torn = tmp_path / "torn"
    shutil.copytree(trained, torn)
    for path in torn.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SystemExit):
        run_toy(torn, toy_stage(4, spoil=stop_at(1, signal.SIGTERM)))
    assert "checkpoint-00000004 is damaged and was removed; going on from step 0" in capsys.readouterr().err
    assert step_of(torn) == 2
    run_toy(torn, toy_stage(4))
    assert_same(tmp_path / "straight", torn)


def test_a_torn_checkpoint_is_not_among_those_that_are_kept(trained: Path, tmp_path: Path) -> None:
    """It goes before anything is saved: later it would take the place of the whole one before it."""
    torn = tmp_path / "torn"
    shutil.copytree(trained, torn)
    with (torn / "checkpoint-00000004" / "tensors.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(TrainingError):
        run_toy(torn, toy_stage(6, spoil=lambda step, loss: loss * torch.nan))
    assert [path.name for path in torn.glob("checkpoint-*")] == ["checkpoint-00000003"]


def test_copies_and_notes_beside_checkpoints_are_left_alone_and_cost_none(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    shutil.copytree(trained, folder)
    shutil.copytree(folder / "checkpoint-00000004", folder / "checkpoint-00000004-good")
    shutil.copytree(folder / "checkpoint-00000003", folder / "checkpoint-best")
    (folder / "checkpoint-notes.txt").write_text("the fourth is the one to keep")
    run_toy(folder, toy_stage(6))
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == [
        "checkpoint-00000004-good",
        "checkpoint-00000005",
        "checkpoint-00000006",
        "checkpoint-best",
        "checkpoint-notes.txt",
    ]


def test_a_state_nested_too_deeply_is_passed_over(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    shutil.copytree(trained, folder)
    (folder / "checkpoint-00000004" / "state.json").write_text("[" * 100_000)
    assert step_of(folder) == 3


def test_checkpoints_of_another_format_or_other_networks_are_refused_and_kept(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    state = other / "checkpoint-00000004" / "state.json"
    head = {key: value for key, value in json.loads(state.read_text()).items() if key != "own_sha256"}
    state.write_text(json.dumps({**head, "format": head["format"] + 1}))
    with pytest.raises(InputError, match=r"checkpoint-00000004 is of format \d"):
        run_toy(other, toy_stage(6))
    assert state.exists()
    wider = toy_stage(6)
    wider.modules["painter"].add_module("more", torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="does not fit the networks of this version"):
        run_toy(trained, wider)


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_damaged(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(checkpoints, "sha256", forbidden)
    with pytest.raises(PermissionError):
        newest_checkpoint(trained)


def test_a_full_disk_costs_no_checkpoint_and_no_room(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "full")

    def no_room(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr(tensors, "save_file", no_room)
        with pytest.raises(BrainspadeError, match=r"tensors\.safetensors could not be written \(I/O error: No space"):
            run_toy(tmp_path / "full", toy_stage(6))
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == [
        "checkpoint-00000003",
        "checkpoint-00000004",
        "losses.csv",
    ]
    run_toy(tmp_path / "full", toy_stage(6))
    run_toy(tmp_path / "straight", toy_stage(6))
    assert_same(tmp_path / "straight", tmp_path / "full")


def test_what_killed_trainings_left_is_removed(tmp_path: Path) -> None:
    for name in (".partial-checkpoint-00000001", ".partial-checkpoint-00000009"):
        (tmp_path / name).mkdir()
    (tmp_path / ".0123abcd.partial.losses.csv").touch()
    run_toy(tmp_path, toy_stage(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000001", "losses.csv"]


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_while_the_last_checkpoint_is_saved_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, kind: type
) -> None:
    save = loop.save_checkpoint

    def interrupted(*arguments: object) -> object:
        os.kill(os.getpid(), number)
        return save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "save_checkpoint", interrupted)
    # What a shell starts in the background ignores SIGINT, and so do the tests then.
    before = [
        (signal.SIGTERM, signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(143)))),
        (signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)),
    ]
    try:
        with pytest.raises(kind):
            run_toy(tmp_path, toy_stage(1))
    finally:
        for handled, handler in before:
            signal.signal(handled, handler)
    assert step_of(tmp_path) == 1


def test_two_trainings_do_not_share_a_stage(tmp_path: Path) -> None:
    def meddle(step: int, loss: torch.Tensor) -> torch.Tensor:
        with pytest.raises(InputError, match="Another training is at work"):
            run_toy(tmp_path, toy_stage(2))
        return loss

    run_toy(tmp_path, toy_stage(1, spoil=meddle))
    run_toy(tmp_path, toy_stage(2))
    assert step_of(tmp_path) == 2


def test_processes_that_see_other_checkpoints_are_told(trained: Path) -> None:
    class TwoFolders(Machine):
        """The machine of two processes, of which the other one has found no checkpoint."""

        def agrees(self, value: int) -> bool:
            return value == 0

    machine = TwoFolders(**vars(open_machine("cpu", "fp32")))
    with pytest.raises(InputError, match="must be a folder that all share"):
        loop.train(toy_stage(5), trained, machine, seed=5, reporter=Reporter(quiet=True))


@pytest.mark.parametrize("spoiled", [b"\0\0\0\0\0\0\n", b"\xff\xfe\n", b"x,1,2\n", b"1,2,3,4,5,6\n", b'"\n', b"7"])
def test_lines_that_a_power_cut_spoiled_are_no_losses(tmp_path: Path, spoiled: bytes) -> None:
    path = tmp_path / "losses.csv"
    path.write_bytes(b"step,seconds,l1\n0,0.1,0.5\n" + spoiled)
    log = LossLog(path, 5)
    log.write(5, 1.0, {"l1": 0.25})
    log.flush()
    assert path.read_text().splitlines() == ["step,seconds,l1", "0,0.1,0.5", "5,1.0,0.25"]


def test_a_bundle_is_updated_where_folders_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS, where flock wants a file that is open for writing."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert tiny_bundle(tmp_path / "bundle").config.name == "tiny"


def test_what_killed_updates_left_in_a_bundle_is_removed(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    left = bundle.folder / ".0123abcd.partial.spade_generator.safetensors"
    left.touch()
    create_or_update_bundle(bundle.folder, config_updates={}, networks={})
    assert not left.exists()


def test_a_bundle_on_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", no_room)
    with pytest.raises(OSError, match="No space left on device") as caught:
        tiny_bundle(tmp_path / "bundle")
    assert caught.value.filename == str(tmp_path / "bundle" / "label_autoencoder.safetensors")


def test_steps_lowered_on_resume_lose_nothing(trained: Path) -> None:
    run_toy(trained, replace(toy_stage(2)))
    assert step_of(trained) == 4
