"""Intensity augmentation of z-scored images (paper A.1): every parameter drawn in one place, applied in another.

As in the paper each image gets, with its own probability, a bias field, a contrast change and Gaussian noise. Mended,
as the released code makes the effects depend on each file's intensity scale: all acts on z-scored brains, only inside
the brain, and a slice's mean and deviation are kept, as z-scoring the augmented volume would do.

Of a pair (style slice, target slice of the same volume) the contrast is shared: contrast is what the generator must
take from the style. Bias field and noise are drawn for each alone: those it must not take over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.presets import ImageTrainingConfig
from brainspade_cli.slices import BACKGROUND_VALUE

BIAS_DEGREE = 3
BIAS_TERMS = (BIAS_DEGREE + 1) * (BIAS_DEGREE + 2) // 2
# Knots of a remap, evenly spaced over the z-scores that brains reach.
REMAP_KNOTS = 8
REMAP_RANGE = (-3.0, 4.0)
REMAP_MAX_GAIN = 12.0
# Brain pixels stay clear of the background's constant, as in `volumes.normalise`.
DARKEST = BACKGROUND_VALUE + 0.1


def draw_contrast(count: int, generator: torch.Generator, settings: ImageTrainingConfig) -> dict[str, Tensor]:
    """What style and target share: `gamma` (B,), 1 for none; `remapped` (B,) and the `remap` values (B, knots)."""
    changed = _chance(settings.contrast_probability, count, generator)
    gamma = _uniform(settings.contrast_range, count, generator)
    remapped = _chance(settings.remap_probability, count, generator)
    return {
        "gamma": torch.where(changed, gamma, 1.0),
        "remapped": remapped,
        "remap": _draw_remap(count, generator),
    }


def draw_disturbance(
    count: int, generator: torch.Generator, settings: ImageTrainingConfig, prefix: str
) -> dict[str, Tensor]:
    """What an image has alone: `<prefix>_bias` (B, 10) coefficients, and the `<prefix>_noise` to add (B, 1, X, Y)."""
    biased = _chance(settings.bias_probability, count, generator)
    coefficients = _uniform(settings.bias_range, count * BIAS_TERMS, generator).view(count, BIAS_TERMS)
    noisy = _chance(settings.noise_probability, count, generator)
    deviation = torch.where(noisy, _uniform(settings.noise_range, count, generator), 0.0)
    noise = torch.randn(count, 1, *SLICE_SHAPE, generator=generator) * deviation[:, None, None, None]
    return {f"{prefix}_bias": torch.where(biased[:, None], coefficients, 0.0), f"{prefix}_noise": noise}


@dataclass(frozen=True)
class Augmenter:
    """Applies drawn parameters. `basis` (10, X, Y) holds the Legendre products that bias fields are made of."""

    basis: Tensor

    @staticmethod
    def on(device: torch.device) -> Augmenter:
        """An augmenter for slices on `device`."""
        axes = [np.polynomial.legendre.legvander(np.linspace(-1, 1, size), BIAS_DEGREE) for size in SLICE_SHAPE]
        terms = [np.outer(axes[0][:, i], axes[1][:, j]) for i, j in zip(*np.tril_indices(BIAS_DEGREE + 1), strict=True)]
        return Augmenter(torch.tensor(np.stack(terms), dtype=torch.float32, device=device))

    def contrast(self, images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """Change contrast alike in the slices (B, K, X, Y) of a volume: remap, then gamma; mean and deviation kept."""
        brain = brain_mask(images)
        remapped = parameters["remapped"].to(images.device)[:, None, None, None]
        changed = torch.where(remapped, _remap(images, parameters["remap"].to(images)), images)
        changed = torch.where(remapped, _with_statistics_of(images, changed, brain), images)
        gamma = parameters["gamma"].to(images)[:, None, None, None]
        return _with_statistics_of(changed, _gamma(changed, gamma, brain), brain)

    def disturb(self, images: Tensor, bias: Tensor, noise: Tensor) -> Tensor:
        """Images (B, 1, X, Y) under a bias field of coefficients (B, 10), with noise (B, 1, X, Y) in the brain.

        The field multiplies the height above the background, which stands for a scan's zero.
        """
        brain = brain_mask(images)
        field = torch.exp(torch.einsum("bt,txy->bxy", bias.to(images), self.basis))[:, None]
        shaded = _with_statistics_of(images, (images - BACKGROUND_VALUE) * field + BACKGROUND_VALUE, brain)
        return torch.where(brain, (shaded + noise.to(images)).clamp(min=DARKEST), BACKGROUND_VALUE)


def brain_mask(images: Tensor) -> Tensor:
    """True where z-scored images show brain, which is above the constant background."""
    return images > BACKGROUND_VALUE + 1e-3


def _gamma(images: Tensor, gamma: Tensor, brain: Tensor) -> Tensor:
    """Raise intensities, scaled to 0..1 over the brain, to the power gamma."""
    low = torch.where(brain, images, torch.inf).amin(dim=(1, 2, 3), keepdim=True)
    high = torch.where(brain, images, -torch.inf).amax(dim=(1, 2, 3), keepdim=True)
    low, high = low.nan_to_num(posinf=0.0), high.nan_to_num(neginf=1.0)
    span = (high - low).clamp(min=1e-6)
    return ((images - low) / span).clamp(0, 1) ** gamma * span + low


def _remap(images: Tensor, values: Tensor) -> Tensor:
    """Piecewise-linear function of intensity, through `values` (B, knots) at evenly spaced knots, flat outside them."""
    low, high = REMAP_RANGE
    last = values.shape[1] - 1
    place = ((images - low) / (high - low) * last).clamp(0, last)
    left = place.floor().clamp(max=last - 1)
    index = left.long().flatten(1)
    below = values.gather(1, index).view_as(images)
    above = values.gather(1, index + 1).view_as(images)
    return below + (place - left) * (above - below)


def _draw_remap(count: int, generator: torch.Generator) -> Tensor:
    """Knot values (B, knots) from 0 to 1: a quarter rising, a quarter falling, half neither (random values)."""
    rise = (0.1 + torch.rand(count, REMAP_KNOTS, generator=generator)).cumsum(dim=1)
    wild = torch.rand(count, REMAP_KNOTS, generator=generator)
    kind = torch.rand(count, 1, generator=generator)
    values = torch.where(kind < 0.5, torch.where(kind < 0.25, rise, -rise), wild)
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    return (values - low) / (high - low)


def _with_statistics_of(before: Tensor, after: Tensor, brain: Tensor) -> Tensor:
    """`after`, shifted and scaled so that its mean and deviation over the brain are those of `before`; background kept.

    The gain is bounded: a remap that is nearly flat where the brain's intensities lie must not blow noise up.
    """
    wanted_mean, wanted_std = _statistics(before, brain)
    mean, std = _statistics(after, brain)
    gain = (wanted_std / std.clamp(min=1e-6)).clamp(max=REMAP_MAX_GAIN)
    return torch.where(brain, ((after - mean) * gain + wanted_mean).clamp(min=DARKEST), BACKGROUND_VALUE)


def _statistics(images: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over the brain of each item, (B, 1, 1, 1) each."""
    count = brain.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    mean = torch.where(brain, images, 0.0).sum(dim=(1, 2, 3), keepdim=True) / count
    variance = torch.where(brain, images - mean, 0.0).square().sum(dim=(1, 2, 3), keepdim=True) / count
    return mean, variance.sqrt()


def _chance(probability: float, count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < probability


def _uniform(ends: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * torch.rand(count, generator=generator)
