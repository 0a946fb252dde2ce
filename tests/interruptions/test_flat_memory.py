"""Memory over one long run of `sample`: flat, however many pairs. BRAINSPADE_TEST_PAIRS says how many (5,000).

BRAINSPADE_TEST_PAIRS=100000 pytest -m slow -s tests/interruptions/test_flat_memory.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.interruptions.faults import ROOT
from tests.interruptions.scenes import ON_CPU
from tests.phantoms import save
from tests.sampling.parts import ellipse_label

PAIRS = int(os.environ.get("BRAINSPADE_TEST_PAIRS", "5000"))
# What bookkeeping may take: some bytes a pair for its number and whether it is there, and the allocator's own moods.
MB_ALLOWED = 24 + PAIRS * 200 / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat(inputs: Path, tmp_path: Path) -> None:
    """Resident memory after a tenth of the pairs and until the end, the finishing of the dataset included.

    Labels are given, for random networks draw none that pass; every pair is painted and written all the same.
    """
    for number in range(16):
        label = ellipse_label(tumour=number % 2 == 1, shift=number)
        save(tmp_path / "labels" / f"{number:02d}.nii.gz", label[:, :, None], (1.0, 1.0, 1.0))
    out = tmp_path / "out"
    line = ["sample", "--style", inputs / "t1.nii.gz", "--weights", inputs / "weights", "--labels", tmp_path / "labels"]
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "brainspade_cli.cli", *map(str, line), "--n", str(PAIRS), "--out", str(out), *ON_CPU],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.DEVNULL,
    )
    manifest = out / "brainspade" / "manifest.jsonl"
    seen: list[tuple[int, float]] = []
    while process.poll() is None:
        time.sleep(1)
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            written = manifest.stat().st_size
        except (OSError, ValueError, IndexError):
            continue
        # A process that has ended, and has not been asked how, has no pages.
        if pages:
            seen.append((written, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))
    assert process.returncode == 0
    sizes, memory = np.array(seen).T
    share = sizes / manifest.stat().st_size
    early = memory[(share > 0.05) & (share < 0.15)].max()
    late = memory[share >= 0.15].max()
    sys.stdout.write(
        f"\n{PAIRS} pairs in {time.monotonic() - begun:.0f} s: {early:.0f} MB around a tenth of them, "
        f"at most {late:.0f} MB after it, {memory[-1]:.0f} MB at the end\n"
    )
    assert late - early < MB_ALLOWED
