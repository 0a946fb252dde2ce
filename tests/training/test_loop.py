"""The loop: exact resume, torn checkpoints, stops, gradient isolation, several processes."""

from __future__ import annotations

import csv
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from brainspade_cli.errors import InputError, SliceSetError, TrainingError
from brainspade_cli.training.checkpoints import KEEP, TrainingState, newest_checkpoint
from brainspade_cli.training.loop import Batch, Plan, Stage, step_seed
from brainspade_cli.training.machine import Machine, seeded
from brainspade_cli.training.rates import exponential, trapezoid
from tests.training.toy import run_toy, stop_at, toy_stage


def losses(folder: Path) -> list[dict[str, str]]:
    with open(folder / "losses.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = newest_checkpoint(folder)
    assert found is not None
    return load_file(found[0] / "tensors.safetensors")


def assert_same(first: Path, second: Path) -> None:
    assert losses(first) == losses(second)
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_six_steps_are_three_and_three_more(tmp_path: Path) -> None:
    run_toy(tmp_path / "straight", toy_stage(6))
    run_toy(tmp_path / "resumed", toy_stage(3))
    run_toy(tmp_path / "resumed", toy_stage(6))
    assert_same(tmp_path / "straight", tmp_path / "resumed")
    assert [row["step"] for row in losses(tmp_path / "resumed")] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("short", [False, True])
def test_batches_made_ahead_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool) -> None:
    """Nor does it where some find no memory beside the step that is computed, and are made after it."""
    run_toy(tmp_path / "straight", toy_stage(6))
    monkeypatch.setattr(Machine, "batches_ahead", 2)
    threads: list[str] = []

    def stage(steps: int) -> Stage:
        toy = toy_stage(steps)

        def load(plan: Plan) -> Batch:
            threads.append(threading.current_thread().name)
            if short and threads[-1] != "MainThread" and len(threads) % 2:
                raise torch.OutOfMemoryError
            return toy.load(plan)

        return replace(toy, load=load)

    run_toy(tmp_path / "ahead", stage(3))
    run_toy(tmp_path / "ahead", stage(6))
    assert_same(tmp_path / "straight", tmp_path / "ahead")
    assert any(name.startswith("batches") for name in threads)
    assert ("MainThread" in threads) == short


def test_what_cannot_be_loaded_ahead_is_said_at_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "batches_ahead", 2)
    toy = toy_stage(6)
    plans: list[Plan] = []

    def load(plan: Plan) -> Batch:
        plans.append(plan)
        if len(plans) == 4:
            raise SliceSetError("slice 3 is damaged")
        return toy.load(plan)

    with pytest.raises(SliceSetError, match="slice 3"):
        run_toy(tmp_path, replace(toy, load=load))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["step"] == 3


def test_a_restored_optimiser_is_laid_out_as_its_parameters_are() -> None:
    """A fused one takes no other layout."""

    def state() -> TrainingState:
        with seeded(0, torch.device("cpu")):
            network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return TrainingState({"a": network}, {}, {"a": torch.optim.Adam(network.parameters())})

    trained, restored = state(), state()
    trained.modules["a"](torch.ones(2, 3, 8, 8)).sum().backward()
    trained.optimisers["a"].step()
    restored.load(trained.tensors())
    for parameter, kept in restored.optimisers["a"].state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            assert kept[name].stride() == parameter.stride()
    values = [list(each.optimisers["a"].state.values()) for each in (trained, restored)]
    assert all(torch.equal(one["exp_avg"], other["exp_avg"]) for one, other in zip(*values, strict=True))


def test_a_checkpoint_holds_networks_averages_and_optimisers_and_no_pickle(tmp_path: Path) -> None:
    run_toy(tmp_path, toy_stage(4))
    kinds = {".".join(name.split(".")[:2]) for name in tensors(tmp_path)}
    assert kinds == {"module.painter", "module.critic", "average.painter", "optimiser.paint", "optimiser.judge"}
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json", ".csv"}
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*"))[-1] == "checkpoint-00000004"
    assert len(list(tmp_path.glob("checkpoint-*"))) == KEEP


@pytest.mark.parametrize("tear", ["truncate tensors", "empty state", "no state", "flip a byte"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(tmp_path: Path, tear: str) -> None:
    run_toy(tmp_path / "straight", toy_stage(5))
    run_toy(tmp_path / "torn", toy_stage(4))
    newest = tmp_path / "torn" / "checkpoint-00000004"
    content = (newest / "tensors.safetensors").read_bytes()
    if tear == "truncate tensors":
        (newest / "tensors.safetensors").write_bytes(content[: len(content) // 2])
    elif tear == "flip a byte":
        (newest / "tensors.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif tear == "empty state":
        (newest / "state.json").write_text("")
    else:
        (newest / "state.json").unlink()
    found = newest_checkpoint(tmp_path / "torn")
    assert found is not None
    assert found[1]["step"] == 3
    run_toy(tmp_path / "torn", toy_stage(5))
    assert_same(tmp_path / "straight", tmp_path / "torn")


def test_a_checkpoint_that_was_being_written_does_not_count(tmp_path: Path) -> None:
    run_toy(tmp_path, toy_stage(2))
    shutil.copytree(tmp_path / "checkpoint-00000002", tmp_path / ".partial-checkpoint-00000003")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[0].name == "checkpoint-00000002"


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals, kind: type) -> None:
    run_toy(tmp_path / "straight", toy_stage(5))
    with pytest.raises(kind):
        run_toy(tmp_path / "stopped", toy_stage(5, spoil=stop_at(2, number)))
    found = newest_checkpoint(tmp_path / "stopped")
    assert found is not None
    assert found[1]["step"] == 3
    run_toy(tmp_path / "stopped", toy_stage(5))
    assert_same(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path, poison: float) -> None:
    with pytest.raises(TrainingError, match=r"stage toy .* step 2"):
        run_toy(tmp_path, toy_stage(5, spoil=lambda step, loss: loss * poison if step == 2 else loss))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["step"] == 2
    assert all(bool(torch.isfinite(value).all()) for value in tensors(tmp_path).values())


def test_each_update_moves_its_own_networks_alone(tmp_path: Path) -> None:
    stage = toy_stage(1)
    before = {name: {k: v.clone() for k, v in m.named_parameters()} for name, m in stage.modules.items()}
    alone = Stage(**{**vars(stage), "updates": stage.updates[:1]})
    run_toy(tmp_path, alone)
    for name, parameter in stage.modules["critic"].named_parameters():
        assert torch.equal(parameter, before["critic"][name])
        assert parameter.grad is None
    assert any(
        not torch.equal(parameter, before["painter"][name])
        for name, parameter in stage.modules["painter"].named_parameters()
    )


def test_other_settings_are_refused_on_resume(tmp_path: Path) -> None:
    run_toy(tmp_path, toy_stage(1))
    with pytest.raises(InputError, match="width"):
        run_toy(tmp_path, Stage(**{**vars(toy_stage(2)), "settings": {"width": 9}}))


def test_a_finished_stage_gives_its_average_back(tmp_path: Path) -> None:
    first = run_toy(tmp_path, toy_stage(3))
    modified = (tmp_path / "losses.csv").stat().st_mtime_ns
    again = run_toy(tmp_path, toy_stage(3))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first["painter"](x), again["painter"](x))
    assert not again["painter"].training
    assert (tmp_path / "losses.csv").stat().st_mtime_ns == modified


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = ["-m", "tests.training.toy", "train-labels", str(tmp_path / "two"), "3"]
    ended = subprocess.run([*command, *script], cwd=root, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-2000:]
    run_toy(tmp_path / "one", toy_stage(3, by_example=True))
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    for row, other in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert float(row["fit"]) == pytest.approx(float(other["fit"]), rel=1e-4)


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(0, 10**6))
def test_step_seeds_differ_by_step_and_stage(seed: int, first: int, second: int) -> None:
    assert (step_seed(seed, "a", first) == step_seed(seed, "a", second)) == (first == second)
    assert step_seed(seed, "a", first) != step_seed(seed, "b", first)


@given(st.integers(1, 10_000), st.integers(0, 500))
def test_rates_stay_positive_and_below_their_peak(steps: int, warmup: int) -> None:
    flat, falling = trapezoid(1e-3, warmup, steps), exponential(1e-3, 0.1, steps)
    for step in (0, steps // 2, steps - 1):
        assert 0 < flat(step) <= 1e-3
        assert 0.99e-4 <= falling(step) <= 1e-3
    assert falling(0) == 1e-3
