"""What is to be sampled: the settings that, with the weights and the styles, make pair i what it is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from brainspade_cli.errors import InputError

# Labels are denoised in blocks of this many. The networks then always see the same shapes, so that neither batch size,
# shards nor interruptions change a bit of a label. Part of what a seed means. An accelerator needs larger blocks to be
# busy; between it and a CPU labels agree to rounding in any case.
BLOCK = 8
WIDE_BLOCK = 64
AUTO, FITTED = "auto", "fitted"
# Attempts at a label that fails its checks, the first one included.
MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class PairPlan:
    """Settings of a sampling run.

    `tumour`: use the denoiser of the tumour population, and ask for a lesion in `tumour_fraction` (0..1) of the pairs.
    `faint_fraction` (0..1): the chance of an oedema to be painted with less than the painter's full contrast. `sampler`
    "auto" is the one that was fitted to the denoiser, where there is one and steps and guidance are its own, else the
    first of `diffusion.samplers`. `steps` None is the sampler's own number. `guidance`: classifier-free guidance
    weight; 1 follows the condition and no more, larger values exaggerate it and cost twice the time.
    """

    seed: int = 0
    tumour: bool = False
    tumour_fraction: float = 1.0
    sampler: str = AUTO
    steps: int | None = None
    guidance: float = 1.0
    faint_fraction: float = 0.5

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"The seed must be 0 or above, not {self.seed}.")
        if not 0 <= self.tumour_fraction <= 1:
            raise InputError(f"The tumour fraction must lie between 0 and 1, not {self.tumour_fraction}.")
        if not 0 <= self.faint_fraction <= 1:
            raise InputError(f"The faint fraction must lie between 0 and 1, not {self.faint_fraction}.")
        if not 0 <= self.guidance <= 20:
            raise InputError(f"The guidance must lie between 0 and 20, not {self.guidance}.")

    @property
    def population(self) -> str:
        """Which denoiser paints the labels: "tumour" or "healthy"."""
        return "tumour" if self.tumour else "healthy"

    def kinds(self) -> tuple[bool, ...]:
        """Which of "with a lesion" (True) and "without" (False) the pairs are asked to be."""
        if not self.tumour or self.tumour_fraction == 0:
            return (False,)
        return (True,) if self.tumour_fraction == 1 else (True, False)

    def wants_lesion(self, index: int) -> bool:
        """Whether pair `index` is asked for a lesion: spread evenly, so that the first n pairs hold floor(n F) of them.

        Counted in exact fractions, for 0.29 * 100 is less than 29 in floating point.
        """
        if not self.tumour:
            return False
        fraction = Fraction(self.tumour_fraction).limit_denominator(1_000_000)
        return int((index + 1) * fraction) > int(index * fraction)
