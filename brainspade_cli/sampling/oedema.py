"""Oedemas as faint as those of people are: the painter gives each about the same contrast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import OEDEMA, WM
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.sampling.lesion_borders import softened
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.randomness import Stream, generator

# Above white matter in a FLAIR, in standard deviations of the brain: 2.0 with an SD of 0.6 in 25 training patients, 0.9
# in the faintest of them; 2.4 with 0.6 where painted in the style of five of them, and 2.1 with 0.6 once half are
# fainter by chance, down to this share of their contrast (`examples/train_starter/oedema.py`).
LEAST_CONTRAST = 0.35


def with_contrast(draw: LabelDraw, plan: PairPlan, index: int) -> LabelDraw:
    """The label of pair `index` with the contrast that its oedema, if it has one, is to be painted with."""
    if not (draw.label == OEDEMA).any():
        return draw
    rng = generator(plan.seed, Stream.OEDEMA_CONTRAST, index)
    chance, contrast = rng.random(), rng.uniform(LEAST_CONTRAST, 1.0)
    return replace(draw, oedema_contrast=contrast) if chance < plan.faint_fraction else draw


def mixture(draw: LabelDraw) -> list[tuple[float, NDArray[np.uint8]]]:
    """What the image of a label is mixed from: shares that sum to 1, each with the PV maps (8, 192, 256) to paint.

    Borders of lesions are soft there. A faint oedema is painted once as it is and once with white matter in its place.
    (Partial volumes of both would take one image in place of two, but in T1s all oedemas would look alike.)
    """
    if draw.oedema_contrast == 1:
        return [(1.0, softened(draw.maps))]
    without = draw.maps.copy()
    # A pixel's maps sum to 255, so that no sum of two overflows a byte.
    without[WM] += without[OEDEMA]
    without[OEDEMA] = 0
    return [(draw.oedema_contrast, softened(draw.maps)), (1 - draw.oedema_contrast, softened(without))]
