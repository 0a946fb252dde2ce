"""What a pair costs without any of our care: DDIM in 80 steps, float32, eager, batch after batch, one file at a time.

That is how the authors' script draws labels (batches of 64); weights and places of the steps are the same as ours, for
neither changes the time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from plain import plain_attention

from brainspade_cli.bundle import Bundle
from brainspade_cli.diffusion import NoiseSchedule, sample_latents
from brainspade_cli.geometry import grid_affine
from brainspade_cli.lesion_sides import across
from brainspade_cli.preparing.partial_volumes import quantise
from brainspade_cli.sampling.label_blocks import draw_condition
from brainspade_cli.sampling.label_checks import ACROSS_PIXELS, RARE, label_problems
from brainspade_cli.styles.pool import StylePool

STEPS = 80


@dataclass(frozen=True)
class PlainWay:
    """`seconds` a pair, and which share of the labels, 0..1, `passed` the checks for which ours draws again."""

    seconds: float
    passed: float


@torch.inference_mode()
def plain_way(
    bundle: Bundle, styles: StylePool, folder: Path, device: torch.device, *, tumour: bool, batch: int, pairs: int
) -> PlainWay:
    """Make `pairs` pairs, rounded up to whole batches; networks are loaded before the clock starts.

    On an accelerator a batch goes before, for at the first one it loads what it runs. It draws nothing again: labels
    are looked through when the clock has stopped.
    """
    denoiser = plain_attention(bundle.network("denoiser_tumour" if tumour else "denoiser_healthy", device))
    autoencoder, painter = bundle.network("label_autoencoder", device), bundle.network("spade_generator", device)
    table, statistics = bundle.conditions("tumour" if tumour else "healthy"), bundle.latent()
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (statistics.mean, statistics.std))
    schedule, shape = NoiseSchedule(bundle.config.networks.schedule), bundle.config.networks.autoencoder.latent_shape
    rng = np.random.default_rng(0)
    unclocked = 0 if device.type == "cpu" else batch
    drawn: list[tuple[NDArray[np.uint8], bool]] = []
    made, begun = 0, time.perf_counter()
    while made < unclocked + pairs:
        if made == unclocked:
            begun = time.perf_counter()
        conditions = [draw_condition(table, tumour and k % 2 == 1, rng) for k in range(batch)]
        told = torch.tensor(conditions, dtype=torch.float32, device=device)
        generators = [torch.Generator().manual_seed(made + k) for k in range(batch)]
        noise = torch.stack([torch.randn(shape, generator=one) for one in generators])
        latents = sample_latents(
            lambda x, t, told=told: denoiser(x, t, told),
            noise.to(device),
            schedule=schedule,
            sampler="ddim",
            steps=STEPS,
            generators=generators,
            limit=statistics.limit,
        )
        fractions = autoencoder.decode_maps(latents * std + mean)
        maps = np.stack([quantise(one) for one in fractions.cpu().numpy()])
        chosen = [styles.draw(0, made + k) for k in range(batch)]
        for channel in range(len(styles.channels)):
            codes = torch.stack([choices[channel].code for choices in chosen]).to(device)
            images = painter(torch.from_numpy(maps).to(device).float() / 255, codes).cpu().numpy()
            for k, image in enumerate(images[:, 0]):
                stored = chosen[k][channel].source.scale.store(image)
                nib.save(_slice(stored), folder / f"{made + k:06d}_{channel:04d}.nii.gz")
        for k, one in enumerate(maps):
            label = one.argmax(axis=0).astype(np.uint8)
            nib.save(_slice(label), folder / f"{made + k:06d}.nii.gz")
            drawn.append((label, conditions[k][1] > 0))
        made += batch
    seconds = (time.perf_counter() - begun) / (made - unclocked)
    most_across = ACROSS_PIXELS if table.lesions_across <= RARE else np.inf
    passed = [not label_problems(label, lesion) and across(label).sum() < most_across for label, lesion in drawn]
    return PlainWay(seconds, float(np.mean(passed)))


def _slice(plane: np.ndarray) -> nib.Nifti1Image:
    return nib.Nifti1Image(plane[:, :, None], grid_affine())
