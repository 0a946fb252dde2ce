"""The benchmark's command on tiny networks: every part that takes seconds runs, and prints its table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sampling.parts import style_scan, tiny_bundle

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "run.py"


@pytest.mark.slow
def test_every_short_part_prints_its_table(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "weights")
    command = [sys.executable, str(SCRIPT), "--weights", str(tmp_path / "weights"), "--device", "cpu", "--tumour"]
    command += ["--style", str(style_scan(tmp_path / "flair.nii.gz")), "--out", str(tmp_path / "out")]
    command += ["--pairs", "2", "--parts", "shares", "changes", "commands"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.strip() == done.stdout.strip()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("| ")]
    shares = {row[0]: row for row in rows if row[0] in ("denoiser", "decoder", "painter", "post-processing", "writing")}
    assert len(shares) == 5
    # A part that was renamed would be timed no longer, and one that is watched takes some time.
    assert all(float(row[2]) > 0 for row in shares.values())
    taken_back = [row for row in rows if ": " in row[0]]
    assert len(taken_back) == 10
    assert all(float(row[1]) > 0 for row in taken_back)
    assert next(row for row in rows if row[0] == "2")[4].endswith(" MB")
