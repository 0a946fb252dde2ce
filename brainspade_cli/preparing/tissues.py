"""CSF, GM and WM posteriors from a T1 under a prior, and the checks that tell when the clustering failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import ScanError
from brainspade_cli.preparing.partial_volumes import Maps
from brainspade_cli.preparing.volumes import above_zero

# Share of the brain that CSF, GM and WM can take in an adult, lesions left out. Outside, the clustering collapsed.
VOLUME_LIMITS = ((0.04, 0.45), (0.30, 0.65), (0.20, 0.52))
# Overlap (Dice of the likeliest class) with the prior. Two people's aligned GM or WM reach 0.65 to 0.8.
MIN_PRIOR_OVERLAP = 0.50
# Distance between mean WM and GM in units of their SD. Below, a T1 has no grey-white contrast to cluster by.
MIN_CONTRAST = 0.8
NAMES = ("CSF", "GM", "WM")
ITERATIONS = 12
# Pull of one neighbour, in nats: all six together outweigh a likelihood ratio of 3.3.
FIELD_STRENGTH = 0.2


def posteriors(t1: NDArray[np.float32], mask: NDArray[np.bool_], prior: Maps, prior_weight: float, path: Path) -> Maps:
    """Posterior probabilities (3, X, Y, Z) of CSF, GM and WM in `mask`, zero outside.

    `t1` on the grid, `prior` (3, X, Y, Z) in the same space. ANTs' N4 takes the bias field out first, where
    antspyx is installed; without it the T1 is clustered as it is, and one with a strong bias field may be refused.
    Raises ScanError, naming `path`, where the result cannot be right.
    """
    if not mask.any():
        raise ScanError(f"{path}: no brain is left for the tissues to be found in, once the lesion is taken out.")
    box = tuple(slice(max(0, int(index.min()) - 1), int(index.max()) + 2) for index in np.nonzero(mask))
    inside = mask[box]
    image = _without_bias_field(t1[box], inside, path)
    expected = prior[(slice(None), *box)]
    maps = np.zeros((3, *t1.shape), np.float32)
    maps[(slice(None), *box)] = cluster(image, inside, expected, prior_weight)
    _check(maps[(slice(None), *box)], image, inside, expected, path)
    return maps


def _without_bias_field(t1: NDArray[np.float32], inside: NDArray[np.bool_], path: Path) -> NDArray[np.float32]:
    try:
        import ants
    except ImportError:
        return t1
    try:
        corrected = ants.n4_bias_field_correction(
            ants.from_numpy(above_zero(t1, inside)),
            mask=ants.from_numpy(inside.astype(np.float32)),
            shrink_factor=4,
            convergence={"iters": [20, 20, 20], "tol": 1e-6},
        )
    except RuntimeError as error:
        raise ScanError(f"{path}: ANTs could not take the bias field out ({error}).") from error
    return np.asarray(corrected.numpy(), dtype=np.float32)


def cluster(image: NDArray[np.float32], inside: NDArray[np.bool_], prior: Maps, prior_weight: float) -> Maps:
    """Posteriors (3, X, Y, Z) of a three-class Gaussian mixture under a spatial prior and a Markov random field.

    Expectation maximisation, the random field as a mean field over the six neighbours: the same model as ANTs'
    Atropos with prior images, of which 54 aligned scans took 80 minutes of one core. Being started from the prior and
    held by it, the classes cannot swap or merge the way that k-means lets them.
    """
    expected = prior + 0.02
    expected = np.where(inside, expected / expected.sum(axis=0), 0).astype(np.float32)
    log_prior = prior_weight * np.log(expected[:, inside])
    values = image[inside].astype(np.float32)
    posterior = expected
    for _ in range(ITERATIONS):
        share = posterior[:, inside]
        weight = share.sum(axis=1)
        mean = (share @ values) / weight
        variance = np.array([share[k] @ (values - mean[k]) ** 2 for k in range(3)]) / weight + 1e-6
        neighbours = np.stack([_neighbour_sum(tissue)[inside] for tissue in posterior])
        log_likelihood = -0.5 * ((values - mean[:, None]) ** 2 / variance[:, None] + np.log(variance)[:, None])
        logits = log_likelihood + log_prior + FIELD_STRENGTH * neighbours
        share = np.exp(logits - logits.max(axis=0))
        posterior = np.zeros_like(expected)
        posterior[:, inside] = share / share.sum(axis=0)
    return posterior


def _neighbour_sum(tissue: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum over the six neighbours of every voxel; what lies beyond the edge counts as none."""
    total = np.zeros_like(tissue)
    for axis in range(3):
        here, before = [slice(None)] * 3, [slice(None)] * 3
        here[axis], before[axis] = slice(1, None), slice(None, -1)
        total[tuple(here)] += tissue[tuple(before)]
        total[tuple(before)] += tissue[tuple(here)]
    return total


def _check(maps: Maps, image: NDArray[np.float32], inside: NDArray[np.bool_], prior: Maps, path: Path) -> None:
    chosen = maps.argmax(axis=0)[inside]
    expected = prior.argmax(axis=0)[inside]
    values = image[inside]
    shares = [float((chosen == tissue).mean()) for tissue in range(3)]
    for name, share, (low, high) in zip(NAMES, shares, VOLUME_LIMITS, strict=True):
        if not low <= share <= high:
            raise ScanError(
                f"{path}: the tissue clustering gave {share:.0%} {name} (expected {low:.0%} to {high:.0%}); the scan "
                "is left out of label training and serves as style only."
            )
    for tissue in (1, 2):
        both = (chosen == tissue) & (expected == tissue)
        overlap = 2 * both.sum() / max(1, (chosen == tissue).sum() + (expected == tissue).sum())
        if overlap < MIN_PRIOR_OVERLAP:
            raise ScanError(
                f"{path}: its {NAMES[tissue]} overlaps with the population's by {overlap:.2f} only; the scan is left "
                "out of label training and serves as style only."
            )
    grey, white = values[chosen == 1], values[chosen == 2]
    contrast = float((white.mean() - grey.mean()) / np.sqrt((grey.var() + white.var()) / 2))
    if contrast < MIN_CONTRAST:
        raise ScanError(
            f"{path}: grey and white matter differ by {contrast:.1f} SD only, too little to tell them apart; the scan "
            "is left out of label training and serves as style only."
        )
