"""The atlas of latents that denoisers are shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainspade_cli.networks.label_denoiser import ATLAS_HEIGHTS, ATLAS_SHAPE
from brainspade_cli.training import atlas as making
from brainspade_cli.training.atlas import latent_atlas
from brainspade_cli.training.latents import LatentStore

STEP = 1 / (ATLAS_HEIGHTS - 1)
ZERO, ONE = torch.zeros(2, 1, 1), torch.ones(2, 1, 1)


@pytest.fixture(autouse=True)
def _one_person_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "FEWEST_PEOPLE", 1)


def store(values: list[float], heights: list[float]) -> LatentStore:
    """Constant latents (rows, 1, 2, 48, 64), a value a row."""
    mean = np.ones((len(values), 1, 2, 48, 64), np.float16) * np.array(values, np.float16)[:, None, None, None, None]
    told = np.array([[[height, 0, 0]] for height in heights], np.float32)
    return LatentStore(mean, told)


def test_each_height_has_the_mean_and_the_deviation_of_its_slices() -> None:
    atlas = latent_atlas(store([1.0, 3.0, 5.0], [4 * STEP, 4 * STEP, 9 * STEP]), torch.arange(3), ZERO, ONE)
    assert atlas.shape == (ATLAS_HEIGHTS, 4, *ATLAS_SHAPE)
    torch.testing.assert_close(atlas[4, :2], torch.full((2, *ATLAS_SHAPE), 2.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(atlas[4, 2:], torch.full((2, *ATLAS_SHAPE), 1.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(atlas[9, :2], torch.full((2, *ATLAS_SHAPE), 5.0), atol=1e-3, rtol=0)
    assert float(atlas[9, 2:].abs().max()) < 1e-3


def test_a_slice_between_two_heights_counts_for_the_nearer_one_more() -> None:
    atlas = latent_atlas(store([1.0, 5.0, 1.0], [4 * STEP, 4.25 * STEP, 5 * STEP]), torch.arange(3), ZERO, ONE)
    # Weights 1 and 0.75 at height 4, 0.25 and 1 at height 5.
    assert abs(float(atlas[4, 0].mean()) - (1 + 0.75 * 5) / 1.75) < 1e-3
    assert abs(float(atlas[5, 0].mean()) - (1 + 0.25 * 5) / 1.25) < 1e-3


def test_heights_without_slices_are_zeros_and_latents_are_standardised() -> None:
    atlas = latent_atlas(store([3.0], [0.0]), torch.arange(1), ZERO + 1, ONE * 4)
    assert abs(float(atlas[0, 0].mean()) - 0.5) < 1e-3
    assert float(atlas[2:].abs().max()) == 0


def test_a_height_of_few_people_stays_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "FEWEST_PEOPLE", 2)
    # Two slices of one person at height 4, one each of two people at height 9.
    slices = store([1.0, 2.0, 3.0, 4.0], [4 * STEP, 4 * STEP, 9 * STEP, 9 * STEP])
    atlas = latent_atlas(slices, torch.tensor([0, 0, 0, 1]), ZERO, ONE)
    assert float(atlas[4].abs().max()) == 0
    assert abs(float(atlas[9, 0].mean()) - 3.5) < 1e-3
