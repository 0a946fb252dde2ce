"""What networks and the noise schedule are built from: sizes, and what a schedule must not be. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from brainspade_cli.geometry import SLICE_SHAPE

# The layers of the library's autoencoder that decode; latents do not depend on them.
DECODING_LAYERS = ("post_quant_conv", "decoder")
# What a denoiser may put out.
PREDICTIONS = ("noise", "velocity")
# Ten times the steps of the paper's noise schedule.
MAX_SCHEDULE_STEPS = 10_000
# Samplers compute with a step's beta and with 1 - beta in float32, which tells neither from 0 below some 1e-7.
LEAST_BETA = 1e-6
LEAST_SIGNAL = 1e-6


@dataclass(frozen=True)
class AutoencoderConfig:
    """Spatial VAE for PV maps (paper 2.2), whose latent has a quarter of their resolution in each direction.

    Each level but the last halves the maps. `patch` 2 folds 2 x 2 pixels into channels first, in place of the first
    halving: at full resolution the networks would spend most of their time on the least they have to decide.
    """

    patch: int = 1
    channels: tuple[int, ...] = (24, 48, 64)
    res_blocks: int = 1
    latent_channels: int = 3
    norm_groups: int = 8
    bottleneck_attention: bool = False

    @property
    def down_sampling(self) -> int:
        """How many pixels a latent pixel spans, each way."""
        return self.patch * 2 ** (len(self.channels) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a slice's latent."""
        height, width = (side // self.down_sampling for side in SLICE_SHAPE)
        return self.latent_channels, height, width


@dataclass(frozen=True)
class DenoiserConfig:
    """Time-conditioned U-Net on standardised latents. `patch` folds patch x patch latent pixels into channels first.

    With `atlas` it is shown the mean and deviation of the training people's latents at the slice's height.
    """

    patch: int = 2
    channels: tuple[int, ...] = (96, 128, 192)
    attention: tuple[bool, ...] = (False, True, True)
    res_blocks: int = 1
    head_channels: int = 32
    norm_groups: int = 32
    latent_channels: int = 3
    atlas: bool = False


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule, linear in sqrt(beta); 0.0015 to 0.0195 over 1000 steps in the released code.

    `prediction` is what the denoisers put out: "noise" (the paper), or "velocity" (Salimans and Ho 2022), which stays
    well-posed where almost all is noise, so that a sampler may take few, long steps.

    Raises ValueError, its first word the entry's name, for a schedule that nothing can be sampled with: every timestep
    must carry some noise, and leave some signal.
    """

    steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195
    prediction: str = "noise"

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, not {self.prediction!r}")
        if not 1 <= self.steps <= MAX_SCHEDULE_STEPS:
            raise ValueError(f"steps must lie between 1 and {MAX_SCHEDULE_STEPS}, not at {self.steps}")
        if not LEAST_BETA <= self.beta_start <= self.beta_end < 1:
            raise ValueError(
                f"beta_start and beta_end must rise, from {LEAST_BETA:g} or more to below 1, "
                f"not from {self.beta_start} to {self.beta_end}"
            )
        first, last = self.beta_start**0.5, self.beta_end**0.5
        step = (last - first) / max(self.steps - 1, 1)
        signal = math.prod(1 - (first + step * index) ** 2 for index in range(self.steps))
        if signal < LEAST_SIGNAL:
            raise ValueError(
                f"beta_end leaves no signal at the end of {self.steps} steps from {self.beta_start} to {self.beta_end}"
            )


@dataclass(frozen=True)
class StyleEncoderConfig:
    """Style VAE encoder, a stride-2 convolution per width. `pooling`: "flatten" keeps place, "statistics" drops it."""

    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    style_dim: int = 32
    pooling: str = "statistics"


@dataclass(frozen=True)
class GeneratorConfig:
    """SPADE decoder, coarse to fine; the last width is at full resolution. `hidden` is the label branch per level."""

    widths: tuple[int, ...] = (192, 160, 96, 64, 32, 16)
    hidden: tuple[int, ...] = (48, 48, 48, 32, 24, 16)
    style_dim: int = 32
    norm: str = "instance"


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Multi-scale patch discriminator with spectral norm on (PV map, image) pairs."""

    scales: int = 2
    layers: int = 3
    base: int = 24
    max_width: int = 192


@dataclass(frozen=True)
class ClassifierConfig:
    """Modality and dataset discriminator: a DenseNet with two heads (121 layers in the released code)."""

    init_features: int = 16
    growth_rate: int = 8
    blocks: tuple[int, ...] = (2, 4, 6)
    dropout: float = 0.2


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain JSON data."""
    return asdict(config)
