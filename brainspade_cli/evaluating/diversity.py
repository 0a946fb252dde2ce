"""How much the slices of a set differ from one another, and how well each image fits its label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from monai.metrics.regression import compute_ms_ssim
from numpy.typing import NDArray

from brainspade_cli.evaluating.collect import OUTSIDE, Collected, ImageTable
from brainspade_cli.evaluating.resampling import Figure, bootstrap_weights, centred_interval

PAIRS = 60
SEEDS = 3
NEAR_MM = 5.0
RESAMPLES = 200
AGREEMENT_LOST = 0.01
_BATCH = 10
# Five scales, each half as large, under a window of 11 pixels.
SMALLEST_SIDE = 176
_HIGHEST = 5.0


def similarity(made: ImageTable, real: ImageTable | None, seed: int) -> Figure | None:
    """Mean MS-SSIM of random pairs of images at like heights, low where they differ; None where there are no pairs.

    The yardstick is that of pairs of different real people, and how much higher two such sets come to lie by chance.
    """
    found = _similarity(made, seed)
    if found is None:
        return None
    known = None if real is None else _similarity(real, seed)
    if known is None:
        return found
    chance = float(np.hypot(known.high - known.value, found.value - found.low))
    return replace(found, usual=known.value, worst_usual=known.value + chance)


def agreement(made: ImageTable, real: ImageTable | None, seed: int) -> Figure:
    """Mean Dice of the brain in the image and in the label, high where images lie on their labels.

    Real labels may be made from their images to the pixel, so no halving is a yardstick: `AGREEMENT_LOST` below the
    real mean is as far as it may go.
    """
    found = _mean(made.agreement, made.features.people, seed)
    usual = None if real is None else float(real.agreement.mean())
    worst = None if usual is None else usual - AGREEMENT_LOST
    return Figure(found.value, found.low, min(1.0, found.high), usual, worst, "high")


def distinct_share(collected: Collected) -> float:
    """How many different labels there are, as a share of all; 1 where no label repeats another pixel by pixel."""
    return collected.distinct / int(collected.counted.sum())


def _similarity(table: ImageTable, seed: int) -> Figure | None:
    people = table.features.people[table.kept_rows]
    if len(np.unique(people)) < 2 or min(table.kept.shape[1:]) < SMALLEST_SIDE:
        return None
    heights = table.heights[table.kept_rows]
    pictures = torch.from_numpy((table.kept - OUTSIDE) / (_HIGHEST - OUTSIDE))[:, None]
    rngs = [np.random.default_rng([seed, number]) for number in range(SEEDS)]
    pairs = [_draw_pairs(people, heights, rng) for rng in rngs]
    values = [_pair_values(pictures, *drawn) for drawn in pairs]
    pooled, (first, second) = np.concatenate(values), np.concatenate(pairs, axis=1)
    # A person who is drawn twice brings all pairs with others twice.
    weights = bootstrap_weights(people, RESAMPLES, np.random.default_rng(seed)).astype(np.float64)
    weights = weights[:, first] * weights[:, second]
    with np.errstate(invalid="ignore"):
        low, high = centred_interval(float(pooled.mean()), weights @ pooled / weights.sum(axis=1))
    means = [run.mean() for run in values]
    return Figure(float(pooled.mean()), max(0.0, low), min(1.0, high), seed_spread=float(np.std(means, ddof=1)))


def _draw_pairs(people: NDArray[np.int64], heights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Random pairs (2, pairs) of pictures of different people, at like heights where there are any such."""
    count = min(PAIRS, len(people) * (len(people) - 1) // 2)
    first = rng.integers(len(people), size=count)
    second = []
    for one in first:
        others = people != people[one]
        near = others & (np.abs(heights - heights[one]) <= NEAR_MM)
        second.append(rng.choice(np.flatnonzero(near if near.any() else others)))
    return np.stack([first, np.array(second)])


@torch.inference_mode()
def _pair_values(pictures: torch.Tensor, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """MS-SSIM of pairs of pictures (N, 1, X, Y), (pairs,)."""
    values = [
        compute_ms_ssim(pictures[first[start : start + _BATCH]], pictures[second[start : start + _BATCH]], 2)
        for start in range(0, len(first), _BATCH)
    ]
    return torch.cat(values).ravel().numpy().astype(np.float64)


def _mean(values: NDArray[np.float64], people: NDArray[np.int64], seed: int) -> Figure:
    weights = bootstrap_weights(people, RESAMPLES, np.random.default_rng(seed)).astype(np.float64)
    value = float(values.mean())
    low, high = centred_interval(value, weights @ values / weights.sum(axis=1))
    return Figure(value, low, high)
