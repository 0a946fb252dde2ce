from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainspade_cli.anatomy import CHANNELS, LESIONS
from brainspade_cli.sampling.label_maps import to_maps, without_lesions


def logits(seed: int, spread: float) -> torch.Tensor:
    return spread * torch.randn(2, CHANNELS, 12, 10, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.1, 1.0, 10.0, 1000.0]))
@settings(max_examples=60)
def test_bytes_sum_to_255_stay_near_the_fractions_and_agree_with_the_label(seed, spread):
    values = logits(seed, spread)
    maps, labels = to_maps(values)
    assert maps.dtype == labels.dtype == torch.uint8
    assert (maps.sum(dim=1) == 255).all()
    assert torch.equal(labels, maps.argmax(dim=1).to(torch.uint8))
    fractions = torch.softmax(values, dim=1)
    off = (maps / 255 - fractions).abs() * 255
    # Half a step for each, and the largest takes what seven roundings leave.
    assert off.max() <= CHANNELS / 2
    assert off.scatter(1, fractions.argmax(dim=1, keepdim=True), 0.0).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_half_precision_and_layout_only_round(layout):
    values = logits(0, 3.0)
    maps, _ = to_maps(values)
    low, _ = to_maps(values.to(torch.bfloat16).contiguous(memory_format=layout))
    assert (maps.int() - low.int()).abs().max() <= 6


def test_a_sample_does_not_depend_on_its_batch():
    values = logits(1, 2.0)
    together = to_maps(values)
    alone = [to_maps(values[k : k + 1]) for k in range(2)]
    for part in range(2):
        assert torch.equal(together[part], torch.cat([one[part] for one in alone]))


def test_the_next_likely_tissue_takes_a_lesions_place():
    values = torch.zeros(1, CHANNELS, 1, 1)
    values[:, LESIONS[0]], values[:, 3] = 5.0, 2.0
    maps, labels = to_maps(without_lesions(values))
    assert labels.item() == 3
    assert maps[:, list(LESIONS)].max() == 0
    assert to_maps(values)[1].item() == LESIONS[0]
