"""Intensity augmentation: equal to MONAI's where MONAI's is right, inside the brain only, contrast shared by a pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import AdjustContrast, RandBiasField

from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.presets import ImageTrainingConfig
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.training.augment import BIAS_TERMS, Augmenter, brain_mask, draw_contrast, draw_disturbance

NOTHING = ImageTrainingConfig(bias_probability=0, contrast_probability=0, noise_probability=0)
ALWAYS = ImageTrainingConfig(bias_probability=1, contrast_probability=1, noise_probability=1, remap_probability=0)


@pytest.fixture(scope="module")
def augmenter() -> Augmenter:
    return Augmenter.on(torch.device("cpu"))


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def head(count: int = 2, slices: int = 1, number: int = 0) -> torch.Tensor:
    """Discs of z-scores around 0 on the constant background."""
    image = torch.randn(count, slices, *SLICE_SHAPE, generator=seeded(number)).clamp(-3, 3)
    x, y = torch.meshgrid(torch.linspace(-1, 1, SLICE_SHAPE[0]), torch.linspace(-1, 1, SLICE_SHAPE[1]), indexing="ij")
    return torch.where(x**2 + y**2 < 0.4, image, BACKGROUND_VALUE)


def moments(image: torch.Tensor) -> tuple[float, float]:
    inside = image[brain_mask(image)]
    return float(inside.mean()), float(inside.std())


def test_bias_field_is_monais(augmenter: Augmenter) -> None:
    coefficients = np.random.default_rng(0).uniform(0.2, 0.6, BIAS_TERMS)
    theirs = RandBiasField(degree=3)._generate_random_field(SLICE_SHAPE, 3, tuple(coefficients))
    ours = torch.einsum("t,txy->xy", torch.tensor(coefficients, dtype=torch.float32), augmenter.basis)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_gamma_is_monais_up_to_mean_and_deviation(augmenter: Augmenter) -> None:
    image = head(1)
    drawn = {**draw_contrast(1, seeded(), NOTHING), "gamma": torch.tensor([0.7])}
    ours = augmenter.contrast(image, drawn)
    inside = image[brain_mask(image)]
    theirs = torch.as_tensor(AdjustContrast(0.7)(inside[None]))[0]
    theirs = (theirs - theirs.mean()) / theirs.std() * inside.std() + inside.mean()
    torch.testing.assert_close(ours[brain_mask(image)], theirs.clamp(min=-3.9), atol=2e-3, rtol=0)


def test_nothing_drawn_changes_nothing(augmenter: Augmenter) -> None:
    image = head()
    drawn = {**draw_contrast(2, seeded(), NOTHING), **draw_disturbance(2, seeded(), NOTHING, "own")}
    result = augmenter.disturb(augmenter.contrast(image, drawn), drawn["own_bias"], drawn["own_noise"])
    torch.testing.assert_close(result, image, atol=1e-4, rtol=0)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.booleans())
def test_background_and_brain_stay_apart(number: int, remap: bool) -> None:
    augmenter = Augmenter.on(torch.device("cpu"))
    image, preset = head(number=number), replace(ALWAYS, remap_probability=float(remap))
    drawn = {**draw_contrast(2, seeded(number), preset), **draw_disturbance(2, seeded(number), preset, "own")}
    result = augmenter.disturb(augmenter.contrast(image, drawn), drawn["own_bias"], drawn["own_noise"])
    assert torch.equal(brain_mask(result), brain_mask(image))
    assert bool((result[~brain_mask(image)] == BACKGROUND_VALUE).all())
    assert bool(torch.isfinite(result).all())


def test_a_slice_keeps_its_mean_and_deviation(augmenter: Augmenter) -> None:
    image = head()
    drawn = {**draw_contrast(2, seeded(3), ALWAYS), **draw_disturbance(2, seeded(3), ALWAYS, "own")}
    result = augmenter.disturb(augmenter.contrast(image, drawn), drawn["own_bias"], torch.zeros(()))
    assert float((result - image).abs().max()) > 0.1
    for before, after in zip(image, result, strict=True):
        assert moments(after) == pytest.approx(moments(before), abs=0.02)


def test_remap_is_one_function_for_both_slices_of_a_pair(augmenter: Augmenter) -> None:
    """Equal intensities of style and target are equal after it: rank them together and compare neighbours."""
    values = torch.linspace(-2.5, 2.5, 500)
    pair = torch.full((1, 2, *SLICE_SHAPE), BACKGROUND_VALUE)
    pair[0, 0, 50, :250], pair[0, 1, 90, :250] = values[::2], values[1::2]
    preset = replace(NOTHING, remap_probability=1.0)
    result = augmenter.contrast(pair, draw_contrast(1, seeded(1), preset))
    style, target = result[0, 0, 50, :250], result[0, 1, 90, :250]
    assert float((style - pair[0, 0, 50, :250]).abs().max()) > 0.2
    assert float((style - target).abs().max()) < 0.2


def test_remaps_rise_fall_and_do_neither() -> None:
    steps = draw_contrast(400, seeded(), ALWAYS)["remap"].diff(dim=1)
    rising, falling = (steps > 0).all(dim=1).float().mean(), (steps < 0).all(dim=1).float().mean()
    assert rising == pytest.approx(0.25, abs=0.07)
    assert falling == pytest.approx(0.25, abs=0.07)


def test_noise_deviation_is_sampled_within_its_range() -> None:
    preset = replace(NOTHING, noise_probability=0.5, noise_range=(0.05, 0.15))
    deviations = draw_disturbance(200, seeded(), preset, "own")["own_noise"].flatten(1).std(dim=1)
    noisy = deviations[deviations > 0]
    assert len(noisy) / 200 == pytest.approx(0.5, abs=0.1)
    assert 0.045 < float(noisy.min()) < 0.06
    assert 0.14 < float(noisy.max()) < 0.155
