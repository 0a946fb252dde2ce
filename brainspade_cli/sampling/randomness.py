"""Random numbers as functions of their place: (seed, stream, pair, attempt) names a generator, and nothing else does.

A pair's numbers do not depend on which pairs were made before it, beside it or in another process. Noise comes from
numpy's 128-bit PCG64, not from torch: torch seeds its CPU generator with 32 bits only, so that among 20,000 samples two
would share their noise with a probability of 5 %.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a generator is for. Numbers are part of what a seed means: never reuse or reorder them."""

    LABEL_NOISE = 0
    LABEL_CONDITION = 1
    SAMPLER = 2
    STYLE = 3
    OEDEMA_CONTRAST = 4
    CSF_SPOTS = 5


def generator(seed: int, stream: Stream, index: int, attempt: int = 0) -> np.random.Generator:
    """Make the numpy generator of one stream of pair `index`, at its `attempt`-th drawing (0 is the first)."""
    return np.random.default_rng(np.random.SeedSequence((seed, int(stream), index, attempt)))


def torch_generator(seed: int, stream: Stream, index: int, attempt: int = 0) -> torch.Generator:
    """Make the CPU torch generator of one stream of pair `index`, for samplers that draw inside diffusers."""
    state = np.random.SeedSequence((seed, int(stream), index, attempt)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
