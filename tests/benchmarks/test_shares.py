"""What the benchmark counts."""

from __future__ import annotations

from pathlib import Path

import torch
from plain import plain_attention
from shares import flops
from torch.utils.flop_counter import FlopCounterMode

from brainspade_cli.devices import open_compute
from brainspade_cli.weights import open_bundle
from tests.sampling.parts import tiny_bundle


def test_attention_counts(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    bundle = open_bundle(str(tmp_path))
    plain = plain_attention(bundle.network("denoiser_healthy"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(torch.zeros(1, 3, 48, 64), torch.zeros(1, dtype=torch.long), torch.zeros(1, 3))
    counted = flops(bundle, open_compute("cpu", "fp32"), "healthy")
    assert counted["denoiser"] == counter.get_total_flops() > 0
    assert counted["decoder"] > 0
    assert counted["painter"] > 0
