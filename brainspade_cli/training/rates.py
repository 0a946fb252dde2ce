"""Learning rates as functions of the step."""

from __future__ import annotations

from collections.abc import Callable

FINAL_FRACTION = 0.1
DECAY_SHARE = 0.3

Rate = Callable[[int], float]


def trapezoid(peak: float, warmup: int, steps: int) -> Rate:
    """Linear rise over `warmup` steps, then `peak`, then a linear fall to a tenth over the last 30 % of `steps`.

    The flat middle is the same whatever the number of steps, so a training that is extended loses little.
    """
    fall = max(1, round(DECAY_SHARE * steps))

    def rate(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup + 1))
        left = min(1.0, max(0, steps - step) / fall)
        return peak * rise * (FINAL_FRACTION + (1 - FINAL_FRACTION) * left)

    return rate


def exponential(start: float, final_fraction: float, steps: int) -> Rate:
    """Exponential fall from `start` to `final_fraction` of it at the last of `steps` (paper A.1)."""
    return lambda step: start * final_fraction ** (step / max(1, steps - 1))
