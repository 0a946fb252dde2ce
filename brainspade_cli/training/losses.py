"""The losses of both trainings, as plain functions of tensors. Each says its equation and where in the paper it stands.

Everything is reduced in float32, so that autocast cannot round a loss away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

ScaleFeatures = Sequence[Sequence[Tensor]]


def _kl_terms(mean: Tensor, log_variance: Tensor) -> Tensor:
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def spatial_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp log_variance) || N(0, 1)) of spatial latents (B, ...): sum over dimensions, mean over the batch.

    Label autoencoder, paper 2.2; its weight of 1e-6 belongs to this reduction.
    """
    return _kl_terms(mean, log_variance).flatten(1).sum(dim=1).mean()


def style_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp log_variance) || N(0, 1)) of style codes (B, style_dim): SUM over dimensions and over the batch.

    Image generator, paper 2.3 and A.1; the paper's weight of 0.001 belongs to this reduction, at batches of 6.
    """
    return _kl_terms(mean, log_variance).sum()


def hinge_discriminator_loss(real: ScaleFeatures, fake: ScaleFeatures) -> Tensor:
    """Hinge loss of the discriminator, mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake))), halved, mean over scales.

    Paper 2.3. Takes what the multi-scale discriminator returns: the last feature of each scale is its scores.
    """
    losses = [
        F.relu(1 - real_scale[-1].float()).mean() + F.relu(1 + fake_scale[-1].float()).mean()
        for real_scale, fake_scale in zip(real, fake, strict=True)
    ]
    return 0.5 * torch.stack(losses).mean()


def hinge_generator_loss(fake: ScaleFeatures) -> Tensor:
    """Hinge loss of the generator, -mean(D(fake)), mean over scales (paper 2.3); unclipped, so it never saturates."""
    return -torch.stack([scale[-1].float().mean() for scale in fake]).mean()


def feature_matching_loss(real: ScaleFeatures, fake: ScaleFeatures) -> Tensor:
    """L1 between the discriminator's intermediate features: mean in a layer, sum over layers, mean over scales.

    Paper 2.3, weight 0.05 in A.1. The real features are targets: no gradient flows through them.
    """
    losses = [
        torch.stack([F.l1_loss(f.float(), r.float().detach()) for r, f in zip(rs[:-1], fs[:-1], strict=True)]).sum()
        for rs, fs in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def contrastive_loss(style: Tensor, other: Tensor) -> Tensor:
    """1 - cosine similarity of two codes (B, style_dim) of one style, mean over the batch, in 0..2.

    Paper 2.3, where the similarity itself is written as the loss; to bring the codes together it must be 1 minus it.
    """
    return (1 - F.cosine_similarity(style.float(), other.float(), dim=1)).mean()


def modality_dataset_losses(
    modality_logits: Tensor, dataset_logits: Tensor, modality: Tensor, dataset: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropies of the logits (B, classes) of both heads against the true classes (B,), batch means (paper A.1).

    The targets are the labels that the data come with, not what the classifier says of the real image: its slips would
    be taught to the generator.
    """
    return F.cross_entropy(modality_logits.float(), modality), F.cross_entropy(dataset_logits.float(), dataset)


def map_l1(logits: Tensor, maps: Tensor) -> Tensor:
    """Mean absolute difference between softmaxed logits and PV maps, both (B, 8, H, W) (paper 2.2, reconstruction)."""
    return F.l1_loss(torch.softmax(logits.float(), dim=1), maps.float())


def image_l1(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference between two images (B, 1, H, W), in z-score units.

    Not in the paper: off by default; it speeds up short trainings.
    """
    return F.l1_loss(image.float(), target.float())


def least_squares_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares loss of the autoencoder's discriminator: mean((D(real) - 1)^2) + mean(D(fake)^2), halved.

    Paper 2.2, for patch scores of any shape.
    """
    return 0.5 * ((real.float() - 1).square().mean() + fake.float().square().mean())


def least_squares_generator_loss(fake: Tensor) -> Tensor:
    """Least-squares loss of the autoencoder, mean((D(fake) - 1)^2), for patch scores of any shape (paper 2.2)."""
    return (fake.float() - 1).square().mean()


def noise_l1(predicted: Tensor, noise: Tensor) -> Tensor:
    """Mean absolute difference between predicted and true noise, the denoisers' loss (paper 2.2)."""
    return F.l1_loss(predicted.float(), noise.float())


def velocity_mse(predicted: Tensor, velocity: Tensor) -> Tensor:
    """Mean squared difference between predicted and true velocity (Salimans and Ho 2022, appendix D).

    Squared, for a sampler needs the mean of all velocities that may be; the absolute difference gives the median.
    """
    return F.mse_loss(predicted.float(), velocity.float())


def ramp(ends: tuple[float, float], step: int, steps: int) -> float:
    """Weight at `step` of 0..steps-1 that runs linearly from the first of `ends` to the second (paper A.1)."""
    progress = min(max(step / max(steps - 1, 1), 0.0), 1.0)
    return ends[0] + (ends[1] - ends[0]) * progress
