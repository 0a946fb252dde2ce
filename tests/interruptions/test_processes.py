"""Many processes: shards in any order and at once, torchrun, and the example scripts for clusters."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from brainspade_cli.locks import hold, let_go
from brainspade_cli.weights import open_bundle
from tests.interruptions.conftest import Scene
from tests.interruptions.faults import ROOT, Fault
from tests.interruptions.scenes import ON_CPU
from tests.interruptions.small import ATLASES

EXAMPLES = ROOT / "examples" / "cluster"
# Blocks of 8, 8 and 1.
PAIRS = 17


def pairs_of(out: Path) -> dict[str, bytes]:
    """Images, labels, maps and dataset.json of a dataset, by name."""
    places = ("imagesTr/*", "labelsTr/*", "brainspade/pv/*", "dataset.json", "brainspade/preview.png")
    return {str(path.relative_to(out)): path.read_bytes() for place in places for path in out.glob(place)}


def rows_of(out: Path) -> list[str]:
    """Lines of all manifests of a dataset, by pair."""
    lines = [line for path in (out / "brainspade").glob("manifest*.jsonl") for line in path.read_text().splitlines()]
    return sorted(lines, key=lambda line: int(json.loads(line)["index"]))


def script(
    name: str, arguments: Iterable[str], tools: Path, module: str = "brainspade_cli.cli", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run an example with `brainspade` on the path, and these variables set; `module`: what is run for it."""
    tools.mkdir(exist_ok=True)
    brainspade = tools / "brainspade"
    brainspade.write_text(f'#!/bin/bash\nexec {sys.executable} -m {module} "$@"\n')
    brainspade.chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **variables}
    return subprocess.run(
        ["bash", str(EXAMPLES / name), *arguments], env=environment, capture_output=True, text=True, timeout=900
    )


@pytest.fixture
def one_process(scene: Callable[..., Scene], tmp_path: Path) -> Path:
    """A dataset of `PAIRS` pairs, made in one piece."""
    whole = scene("sample", tmp_path / "whole")
    ended = whole.run(None, "--n", str(PAIRS))
    assert ended.code == 0, ended.said
    return whole.out


def require_same(out: Path, one_process: Path) -> None:
    assert pairs_of(out) == pairs_of(one_process)
    assert rows_of(out) == rows_of(one_process)
    assert not list(out.rglob(".*"))


def test_shards_out_of_order_and_at_once_make_the_dataset_of_one_process(
    scene: Callable[..., Scene], one_process: Path
) -> None:
    """The last one first; one of them killed; then two at once, numbered as torchrun and SLURM number processes."""
    here = scene("sample")
    number = ("--n", str(PAIRS))
    assert here.run(None, *number, "--shard", "2/3").code == 0
    assert here.run(here.at(0.4), *number, "--shard", "0/3").code == -signal.SIGKILL
    assert not (here.out / "dataset.json").exists()
    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "3"}
    under_way = [
        here.start(None, "torchrun", *number, RANK="0", WORLD_SIZE="3"),
        here.start(None, "slurm", *number, SLURM_ARRAY_TASK_ID="2", **array),
    ]
    ended = [command.end() for command in under_way]
    assert [each.code for each in ended] == [0, 0], [each.said for each in ended]
    require_same(here.out, one_process)


def test_shards_of_other_settings_do_not_mix(scene: Callable[..., Scene]) -> None:
    """Begun at the same moment on an empty folder: one is refused, whichever was second."""
    here = scene("sample")
    number = ("--n", str(PAIRS))
    # It has found the folder empty, and is about to write down what it begins.
    first = here.start(Fault(what="stop", on="/run.json"), "first", *number, "--shard", "0/2")
    first.wait_until_stopped()
    second = here.run(None, *number, "--shard", "1/2", "--seed", "7")
    first.send(signal.SIGCONT)
    refused = first.end()
    assert second.code == 0, second.said
    assert refused.code == 2
    assert "was begun with seed 7, now 0" in refused.said


def test_an_array_task_makes_its_shard_and_one_submitted_again_the_same(
    scene: Callable[..., Scene], tmp_path: Path
) -> None:
    """The example asks for the shard of the whole array, though SLURM then tells of one task alone."""
    here = scene("sample")
    recorded = tmp_path / "recorded"
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "brainspade").write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >{recorded}\n')
    (tools / "brainspade").chmod(0o755)
    style = str(here.inputs / "t1.nii.gz")
    for task, first, last in (("2", "0", "2"), ("0", "0", "0"), ("1", "1", "1")):
        variables = {
            "SLURM_ARRAY_TASK_ID": task,
            "SLURM_ARRAY_TASK_MIN": first,
            "SLURM_ARRAY_TASK_MAX": last,
            "SLURM_ARRAY_TASK_COUNT": str(int(last) - int(first) + 1),
        }
        environment = {**os.environ, **variables, "STYLE": style, "N": str(PAIRS), "OUT": str(here.out), "SHARDS": "3"}
        environment["PATH"] = os.pathsep.join([str(tools), os.environ["PATH"]])
        more = ["--weights", str(here.inputs / "weights"), "--tumour", "--steps", "1", "--dry-run", "--json", *ON_CPU]
        subprocess.run(["bash", str(EXAMPLES / "sample_array.sh"), *more], env=environment, check=True)
        ended = here.run_line(recorded.read_text().splitlines(), **variables)
        assert ended.code == 0, ended.said
        summary = json.loads(ended.said.splitlines()[-1])
        assert (summary["shard"], summary["missing"]) == (f"{task}/3", 1 if task == "2" else 8)


@pytest.mark.slow
def test_the_array_example_makes_the_dataset_of_one_process(
    scene: Callable[..., Scene], tmp_path: Path, one_process: Path
) -> None:
    """Real weights are not needed for that: labels that random ones draw are kept after their last attempt."""
    here = scene("sample")
    more = ["--weights", str(here.inputs / "weights"), "--labels", str(one_process / "brainspade" / "pv"), *ON_CPU]
    variables = {"STYLE": str(here.inputs / "t1.nii.gz"), "N": str(PAIRS), "SHARDS": "3"}
    for task in ("1", "2", "0"):
        made = script(
            "sample_array.sh", more, tmp_path / "tools", OUT=str(here.out), SLURM_ARRAY_TASK_ID=task, **variables
        )
        assert made.returncode == 0, made.stderr
    assert (here.out / "dataset.json").is_file()
    for place in ("imagesTr", "labelsTr"):
        for path in (one_process / place).iterdir():
            assert (here.out / place / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_torchrun_samples_the_dataset_of_one_process(scene: Callable[..., Scene], one_process: Path) -> None:
    here = scene("sample")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    # Not --n, which torchrun would take for its own.
    line = ["-m", "brainspade_cli.cli", "sample", "--style", str(here.inputs / "t1.nii.gz"), "-n", str(PAIRS)]
    line += ["--weights", str(here.inputs / "weights"), "--labels", str(one_process / "brainspade" / "pv"), *ON_CPU]
    ended = subprocess.run(
        [*command, *line, "--out", str(here.out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    for place in ("imagesTr", "labelsTr"):
        for path in (one_process / place).iterdir():
            assert (here.out / place / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_the_torchrun_example_trains_both_stages_like_one_process(inputs: Path, tmp_path: Path) -> None:
    """Loss curves of two processes and of one, with the same global batch.

    The classifier's cannot agree: its batch norm and dropout see a process's share of a batch, here one image of two.
    """
    more = [*ON_CPU, "--seed", "3"]
    for name, processes in (("one", "1"), ("two", "2")):
        (tmp_path / f"atlases-{name}").mkdir()
        made = script(
            "train_torchrun.sh",
            more,
            tmp_path / "tools",
            "tests.interruptions.small",
            SLICES=str(inputs / "slices"),
            WEIGHTS=str(tmp_path / name),
            PRESET="tiny",
            PROCESSES=processes,
            **{ATLASES: str(tmp_path / f"atlases-{name}")},
        )
        assert made.returncode == 0, made.stderr[-3000:]
        assert made.stdout.count(f"networks are in {tmp_path / name}.") == 2, made.stdout
        assert made.stderr.count("sampler of its own") == 2, "one process fits a sampler to each denoiser"
    stages = sorted(path.parent.name for path in (tmp_path / "one").glob("training/*/losses.csv"))
    assert stages == ["autoencoder", "classifier", "decoder", "denoiser-healthy", "denoiser-tumour", "painter"]
    for stage in stages:
        one, two = (losses(tmp_path / name / "training" / stage / "losses.csv") for name in ("one", "two"))
        assert (one.keys(), one["step"]) == (two.keys(), two["step"])
        for term, values in one.items() if stage != "classifier" else ():
            assert two[term] == pytest.approx(values, rel=0.02, abs=2e-3), (stage, term)
    require_one_atlas(tmp_path / "atlases-one", tmp_path / "atlases-two", tmp_path / "two")


def require_one_atlas(one: Path, two: Path, weights: Path) -> None:
    """Both of two processes made the same atlas of the tumours, and the weights have it: that of one process."""
    alone, first, second = (np.load(max(folder.glob(f"{rank}-*"))) for folder, rank in ((one, 0), (two, 0), (two, 1)))
    assert np.abs(first).max() > 0
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, rtol=0.02, atol=0.02)
    kept = open_bundle(str(weights)).network("denoiser_tumour").get_buffer("atlas").numpy()
    np.testing.assert_allclose(kept, first, rtol=1e-3, atol=1e-3)


def losses(path: Path) -> dict[str, list[float]]:
    """Columns of a loss log."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or 0) for row in rows] for name in rows[0] if name != "seconds"}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["a file of the main process", "a lock", "weights"])
def test_under_torchrun_one_sentence_says_what_failed(inputs: Path, tmp_path: Path, trouble: str) -> None:
    """What stops the main process alone, and what stops all: said once, and no peer waits or shows its innards."""
    out = tmp_path / "out"
    state = out / "training" / "autoencoder"
    state.mkdir(parents=True)
    if trouble == "weights":
        (out / "config.json").write_text("{")
    elif trouble == "a file of the main process":
        (state / "losses.csv").mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line = ["-m", "brainspade_cli.cli", "train-labels", str(inputs / "slices"), "--out", str(out), "--preset", "tiny"]
    held = hold(state / ".at-work") if trouble == "a lock" else None
    ended = subprocess.run(
        [*command, *line, "--population", "healthy", *ON_CPU],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if held is not None:
        let_go(state / ".at-work", held)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, ended.stderr
    assert str(out) in said[0]
    # torchrun's own traceback is its own.
    assert str(ROOT / "brainspade_cli") not in ended.stderr.replace(said[0], "")
    assert "Error: [" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_of_prepare_end_with_it(inputs: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Workers that outlive a killed run would write into the slice set beside the next one."""
    line = [sys.executable, "-m", "brainspade_cli.cli", "prepare", str(inputs / "scans"), str(tmp_path / "out")]
    process = subprocess.Popen(
        [*line, "--no-register", "--jobs", "2", "--quiet"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(workers(process.pid)) == 2)
    if number == signal.SIGINT:
        # Ctrl-C goes to all processes of a terminal.
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.wait(60)
    wait_for(lambda: not workers(process.pid))
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_prepare_is_stopped_while_it_registers(inputs: Path, tmp_path: Path) -> None:
    """ANTs keeps Python from everything for seconds at a time, so a worker registers even where one is enough."""
    pytest.importorskip("ants", reason="needs the extra brainspade[register]")
    line = [sys.executable, "-m", "brainspade_cli.cli", "prepare", str(inputs / "scans"), str(tmp_path / "out")]
    process = subprocess.Popen(
        line, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(workers(process.pid)) == 1)
    time.sleep(2)
    # As a scheduler sends it, to every process of a job.
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143, said
    assert said.splitlines()[-1].startswith("stopped by SIGTERM; what is finished is kept, and the same command")
    assert "Traceback" not in said
    wait_for(lambda: not workers(process.pid))


@pytest.mark.slow
def test_a_worker_that_runs_out_of_memory_is_told(inputs: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "brainspade_cli.cli", "prepare", str(inputs / "scans"), str(tmp_path / "out")]
    process = subprocess.Popen(
        [*line, "--no-register", "--jobs", "2", "--quiet"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(workers(process.pid)) == 2)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert said.startswith("error: A worker process was killed")
    assert said.count("\n") == 1


def workers(session: int) -> list[int]:
    """Worker processes in a session, by the command line that multiprocessing gives them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            same = int((path / "stat").read_text().rsplit(")", 1)[1].split()[3]) == session
            if same and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something holds; it fails after four minutes, for machines that run tests are busy."""
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
