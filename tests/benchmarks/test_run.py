"""The benchmark's command on tiny networks: every part that takes seconds runs, and prints its table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sampling.parts import style_scan, tiny_bundle

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "run.py"


def benchmark(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark with the weights in `folder`, into `folder`/out."""
    command = [sys.executable, str(SCRIPT), "--weights", str(folder / "weights"), "--device", "cpu", "--tumour"]
    command += ["--style", str(style_scan(folder / "flair.nii.gz")), "--out", str(folder / "out"), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows_of(folder: Path, done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The rows of all tables, cell by cell; what is written is what is printed."""
    report = (folder / "out" / "report.md").read_text()
    assert report.strip() == done.stdout.strip()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("| ")]


@pytest.mark.slow
def test_every_short_part_prints_its_table(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "weights")
    done = benchmark(tmp_path, "--pairs", "2", "--parts", "shares", "changes", "commands")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path, done)
    shares = {row[0]: row for row in rows if row[0] in ("denoiser", "decoder", "painter", "post-processing", "writing")}
    assert len(shares) == 5
    # A part that was renamed would be timed no longer, and one that is watched takes some time.
    assert all(float(row[2]) > 0 for row in shares.values())
    taken_back = [row for row in rows if ": " in row[0]]
    assert len(taken_back) == 11
    assert all(float(row[1]) > 0 for row in taken_back)
    assert next(row for row in rows if row[0] == "2")[4].endswith(" MB")


@pytest.mark.slow
def test_the_plain_way_and_the_curve_run(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "weights")
    short = ("--pairs", "8", "--baseline-pairs", "2", "--labels", "8", "--reference-steps", "6", "--counts", "2", "6")
    done = benchmark(tmp_path, *short, "--parts", "speed", "curve", "--samplers", "ddim")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path, done)
    speed = {row[0]: float(row[1]) for row in rows if row[0].startswith(("our", "DDIM"))}
    assert list(speed) == ["our default", "DDIM-80, fp32, eager, batch 2", "DDIM-80, fp32, eager, batch 1"]
    assert min(speed.values()) > 0
    # Tiny networks draw noise, which fails every check.
    assert [row[3:] for row in rows if row[0].startswith(("our", "DDIM"))] == [["100%", "1.0"], *[["0%", "-"]] * 2]
    differing = {(row[0], row[1]): row[4] for row in rows if row[0].startswith("ddim")}
    assert differing["ddim", "6"] == "0.0%", "the reference itself"
    assert differing["ddim, another seed", "6"] == "-", "drawn from other noise"
    assert float(differing["ddim", "2"].rstrip("%")) > 0
    assert (tmp_path / "out" / "curve.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_curve_that_cannot_be_drawn_is_refused_before_it_takes_long(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "weights")
    done = benchmark(tmp_path, "--parts", "curve", "--samplers", "fitted")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "no sampler fitted" in done.stderr
    assert not (tmp_path / "out" / "labels").exists()
