from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainspade_cli.anatomy import BACKGROUND, CHANNELS, TUMOUR
from brainspade_cli.training.batches import LabelTable
from brainspade_cli.training.transplant import draw_hosts, transplant


def table(positions: list[float], present: list[float]) -> LabelTable:
    conditions = torch.tensor([positions, present, present]).T
    return LabelTable((), (), conditions.numpy(), conditions.numpy(), conditions, ())


def brain(tissue: int, size: int = 12) -> torch.Tensor:
    maps = torch.zeros(1, CHANNELS, 16, 16)
    maps[:, BACKGROUND] = 1
    maps[:, BACKGROUND, :size, :size] = 0
    maps[:, tissue, :size, :size] = 1
    return maps


@given(st.integers(0, 2**31))
@settings(max_examples=30)
def test_a_transplant_is_a_partial_volume_map_again(seed):
    generator = torch.Generator().manual_seed(seed)
    donors, hosts = torch.softmax(4 * torch.randn(2, 3, CHANNELS, 8, 8, generator=generator), dim=2)
    maps, load = transplant(donors, hosts)
    assert maps.min() >= 0
    assert torch.allclose(maps.sum(dim=1), torch.ones(3, 8, 8), atol=1e-5)
    assert ((load >= 0) & (load <= 1)).all()


def test_the_host_gets_the_lesion_and_keeps_its_own_tissues_and_outline():
    donor = brain(2)
    donor[0, 2, 2:8, 2:8] = 0
    donor[0, TUMOUR, 2:8, 2:8] = 1
    maps, load = transplant(donor, brain(3))
    assert torch.equal(maps[0, TUMOUR], donor[0, TUMOUR])
    assert maps[0, 3].sum() == 144 - 36
    assert maps[0, 2].sum() == 0
    assert torch.equal(maps[0, BACKGROUND], brain(3)[0, BACKGROUND])
    assert load.item() == pytest.approx(36 / 144)


def test_a_lesion_that_falls_outside_of_the_host_counts_as_none():
    donor = brain(2)
    donor[0, 2, 6:12, 6:12] = 0
    donor[0, TUMOUR, 6:12, 6:12] = 1
    maps, load = transplant(donor, brain(3, size=8))
    assert maps[0, TUMOUR].sum() == 4
    assert load.item() == 0


def test_hosts_are_free_of_lesions_and_at_the_same_height():
    patients = table([0.5, 0.9], [1.0, 1.0])
    everybody = table([0.5, 0.51, 0.495, 0.2, 0.89], [1.0, 0.0, 0.0, 0.0, 1.0])
    rows = torch.tensor([0] * 50 + [1])
    hosts = draw_hosts(patients, everybody, rows, torch.Generator().manual_seed(0))
    assert set(hosts[:50].tolist()) == {1, 2}
    assert hosts[50] == -1
    nobody = replace(everybody, conditions=everybody.conditions[:1])
    assert draw_hosts(patients, nobody, rows[:1], torch.Generator()).tolist() == [-1]
