"""What the benchmark counts."""

from __future__ import annotations

from pathlib import Path

import torch
from plain import plain_attention
from shares import flops
from torch.utils.flop_counter import FlopCounterMode

from brainspade_cli.devices import open_compute
from brainspade_cli.sampling.inference import open_denoiser
from brainspade_cli.weights import open_bundle
from tests.sampling.parts import tiny_bundle


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
