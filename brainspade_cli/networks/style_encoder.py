"""Style encoder (paper 2.3): one image slice to a Gaussian over style codes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from brainspade_cli.networks.configs import StyleEncoderConfig
from brainspade_cli.slices import BACKGROUND_VALUE

LOG_VARIANCE_RANGE = (-30.0, 20.0)
INITIAL_LOG_VARIANCE = -4.0
# The released code flattens the last features, so every image is first brought to this size.
FLATTEN_SIZE = 256
FOREGROUND_MARGIN = 0.5
HISTOGRAM_BINS = 16
HISTOGRAM_RANGE = (-3.5, 4.0)


def sample_style(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Draw styles (B, style_dim) from the posterior: mean + deviation x noise, `noise` being standard normal."""
    return mean + torch.exp(0.5 * log_variance) * noise


class StyleEncoder(nn.Module):
    """Stride-2 spectral-norm convolutions, pooled into the mean and log-variance of a style code.

    "flatten" is the released code's: instance norm, and linear heads on the flattened features of a 256 x 256 image; it
    sees where things are. "statistics" takes each channel's mean and deviation over the brain, and the brain's smoothed
    histogram, so that the code cannot carry anatomy and does not depend on how much of the slice is brain. There, one
    norm spans all channels, for instance norm would erase the channel means, which are the style; and the background
    counts as average brain, for its edge would outweigh the contrast of tissues.
    """

    def __init__(self, config: StyleEncoderConfig) -> None:
        super().__init__()
        if config.pooling not in ("flatten", "statistics"):
            raise ValueError(f"pooling must be 'flatten' or 'statistics', not '{config.pooling}'")
        self.flatten = config.pooling == "flatten"
        layers: list[nn.Module] = [spectral_norm(nn.Conv2d(1, config.widths[0], 3, stride=2, padding=1))]
        for narrow, wide in pairwise(config.widths):
            layers += [nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(narrow, wide, 3, stride=2, padding=1))]
            layers.append(nn.InstanceNorm2d(wide) if self.flatten else nn.GroupNorm(1, wide))
        layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        last = config.widths[-1]
        features = last * (FLATTEN_SIZE >> len(config.widths)) ** 2 if self.flatten else 2 * last + HISTOGRAM_BINS
        self.mean = nn.Linear(features, config.style_dim)
        self.log_variance = nn.Linear(features, config.style_dim)
        # Codes start out almost certain: under unit variance the painter learns to overhear them before they carry
        # anything. The KL loss widens them later as far as it pays.
        nn.init.constant_(self.log_variance.bias, INITIAL_LOG_VARIANCE)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, style_dim), of images (B, 1, H, W): z-scored, background -4, any H and W."""
        if self.flatten:
            size = (FLATTEN_SIZE, FLATTEN_SIZE)
            features = self.layers(F.interpolate(image, size=size, mode="bilinear", align_corners=False)).flatten(1)
        else:
            brain = image > BACKGROUND_VALUE + FOREGROUND_MARGIN
            statistics = pooled_statistics(self.layers(torch.where(brain, image, 0.0)), image)
            features = torch.cat([statistics, soft_histogram(image)], dim=1)
        return self.mean(features), self.log_variance(features).clamp(*LOG_VARIANCE_RANGE)


def pooled_statistics(features: Tensor, image: Tensor) -> Tensor:
    """Per-channel mean and deviation (B, 2C) of features (B, C, h, w), each pixel weighted by its share of foreground.

    Foreground is what lies above the constant background of the image (B, 1, H, W) that the features come from; in an
    image without any, all pixels weigh the same.
    """
    features = features.float()
    foreground = (image > BACKGROUND_VALUE + FOREGROUND_MARGIN).float()
    weights = F.interpolate(foreground, size=features.shape[-2:], mode="area") + 1e-8
    weights = weights / weights.sum(dim=(2, 3), keepdim=True)
    mean = (features * weights).sum(dim=(2, 3))
    variance = ((features - mean[:, :, None, None]).square() * weights).sum(dim=(2, 3))
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


def soft_histogram(image: Tensor) -> Tensor:
    """Smoothed histogram (B, HISTOGRAM_BINS) of the foreground of images (B, 1, H, W), every second pixel each way.

    Bins are Gaussians half a bin wide over `HISTOGRAM_RANGE` z-scores; a brain spread evenly over them gives 1 in each.
    """
    pixels = image[..., ::2, ::2].float().flatten(1)
    foreground = (pixels > BACKGROUND_VALUE + FOREGROUND_MARGIN).float()
    centres = torch.linspace(*HISTOGRAM_RANGE, HISTOGRAM_BINS, device=image.device)
    width = centres[1] - centres[0]
    bumps = torch.exp(-2 * ((pixels[:, None] - centres[:, None]) / width).square())
    return HISTOGRAM_BINS * (bumps * foreground[:, None]).mean(dim=2) / (foreground.mean(dim=1, keepdim=True) + 1e-6)
