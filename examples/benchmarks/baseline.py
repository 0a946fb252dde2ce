"""What a pair costs without any of our care: DDIM in 80 steps, float32, eager, batch after batch, one file at a time.

That is how the authors' script draws labels (batches of 64); weights and places of the steps are the same as ours, for
neither changes the time.
"""

from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from plain import plain_attention

from brainspade_cli.diffusion import NoiseSchedule, sample_latents
from brainspade_cli.geometry import grid_affine
from brainspade_cli.preparing.partial_volumes import quantise
from brainspade_cli.sampling.label_blocks import draw_condition
from brainspade_cli.styles.pool import StylePool
from brainspade_cli.weights import Bundle

STEPS = 80


@torch.inference_mode()
def seconds_a_pair(
    bundle: Bundle, styles: StylePool, folder: Path, device: torch.device, *, tumour: bool, batch: int, pairs: int
) -> float:
    """Seconds a pair, networks loaded before the clock starts; `pairs` is rounded up to whole batches.

    On an accelerator a batch goes before, for at the first one it loads what it runs.
    """
    denoiser = plain_attention(bundle.network("denoiser_tumour" if tumour else "denoiser_healthy", device))
    autoencoder, painter = bundle.network("label_autoencoder", device), bundle.network("spade_generator", device)
    table, statistics = bundle.conditions("tumour" if tumour else "healthy"), bundle.latent()
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (statistics.mean, statistics.std))
    schedule, shape = NoiseSchedule(bundle.config.networks.schedule), bundle.config.networks.autoencoder.latent_shape
    rng = np.random.default_rng(0)
    unclocked = 0 if device.type == "cpu" else batch
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
            nib.save(_slice(one.argmax(axis=0).astype(np.uint8)), folder / f"{made + k:06d}.nii.gz")
        made += batch
    return (time.perf_counter() - begun) / (made - unclocked)


def _slice(plane: np.ndarray) -> nib.Nifti1Image:
    return nib.Nifti1Image(plane[:, :, None], grid_affine())
