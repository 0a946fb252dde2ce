"""What the benchmark counts and times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from changes import changes
from plain import plain_attention
from shares import PARTS, busy_seconds, flops, request_for
from torch.utils.flop_counter import FlopCounterMode

from brainspade_cli.devices import open_compute
from brainspade_cli.sampling.inference import open_denoiser
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.weights import open_bundle
from tests.sampling.parts import style_scan, tiny_bundle


def test_attention_counts_and_merged_doublings_count_less(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    bundle, compute = open_bundle(str(tmp_path)), open_compute("cpu", "fp32")
    totals = []
    for network in (open_denoiser(bundle, "healthy", compute), bundle.network("denoiser_healthy")):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            plain_attention(network)(torch.zeros(1, 3, 48, 64), torch.zeros(1, dtype=torch.long), torch.zeros(1, 3))
        totals.append(counter.get_total_flops())
    counted = flops(bundle, compute, "healthy")
    assert totals[1] > totals[0] == counted["denoiser"] > 0
    assert counted["decoder"] > 0
    assert counted["painter"] > 0


def test_every_part_of_a_run_is_timed(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "weights")
    options = {"plan": PairPlan(tumour=True), "weights": str(tmp_path / "weights"), "device": "cpu"}
    style = str(style_scan(tmp_path / "flair.nii.gz"))
    request = request_for([style], tmp_path / "Dataset501_shares", 2, options)
    seconds, total = busy_seconds(request, torch.device("cpu"))
    assert list(seconds) == [*PARTS.values(), "post-processing", "writing"]
    assert 0 < min(seconds.values()) < sum(seconds.values()) < total


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_taken_back_is_there_to_be_taken_back(device: str) -> None:
    patches = [patch for change in changes(torch.device(device)) for patch in change.patches]
    assert len(patches) > 5
    assert [name for owner, name, _ in patches if not hasattr(owner, name)] == []
