"""By how much a trained denoiser's lesions fall short of the load that it is told: small ones it often leaves out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainspade_cli.anatomy import BACKGROUND
from brainspade_cli.devices import Compute
from brainspade_cli.sampling.label_blocks import GeneratedLabels
from brainspade_cli.sampling.label_checks import lesion_pixels
from brainspade_cli.sampling.plan import BLOCK, PairPlan
from brainspade_cli.weights import Bundle


def lesion_shortfall(bundle: Bundle, *, count: int, seed: int, compute: Compute) -> float:
    """The load asked for less the load drawn, both shares of the brain: its median over labels, 0 where it is less.

    Over `count` labels (rounded up to whole blocks) of patients, each the first that `sample` would draw. A median, for
    the few largest lesions fall short by more than others can.
    """
    table = replace(bundle.conditions("tumour"), lesion_shortfall=0.0)
    plain = replace(bundle, config=replace(bundle.config, conditions={**bundle.config.conditions, "tumour": table}))
    labels = GeneratedLabels(plain, PairPlan(seed=seed, tumour=True), compute)
    short = []
    for start in range(0, count, BLOCK):
        members = range(start, start + BLOCK)
        for index, draw in zip(members, labels.first_attempts(members), strict=True):
            if brain := int(np.count_nonzero(draw.label != BACKGROUND)):
                short.append(labels.load_asked(index) - lesion_pixels(draw.label) / brain)
    return max(0.0, float(np.median(short))) if short else 0.0
