"""Make the style scans of the quickstart, t1.nii.gz and flair.nii.gz: volumes of a brain that was drawn.

    python examples/quickstart/make_style.py WEIGHTS examples/quickstart

The anatomy is drawn by the weights, a slice every 4 mm, all from the same noise, so that one slice resembles the next;
each contrast is the mean of the weights' own bank of styles.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from brainspade_cli.anatomy import BACKGROUND
from brainspade_cli.bundle import Bundle
from brainspade_cli.diffusion import GENERAL, NoiseSchedule, sample_latents
from brainspade_cli.files import replacing
from brainspade_cli.geometry import GRID_SHAPE, grid_affine
from brainspade_cli.sampling.label_maps import to_maps, without_lesions
from brainspade_cli.sampling.label_mending import close_gaps, drop_crumbs
from brainspade_cli.weights import open_bundle

SPACING_MM = 4
FIRST, LAST = 30, 140
SEED = 0


def drawn_maps(bundle: Bundle) -> torch.Tensor:
    """PV maps (slices, 8, 192, 256) of a healthy brain from its lowest slice to its highest, in 0..1."""
    levels = torch.arange(FIRST, LAST, SPACING_MM)
    statistics, networks = bundle.latent(), bundle.config.networks
    conditions = torch.zeros(len(levels), 3)
    conditions[:, 0] = levels / (GRID_SHAPE[2] - 1)
    generator = torch.Generator().manual_seed(SEED)
    denoiser = bundle.network("denoiser_healthy")
    latents = sample_latents(
        lambda noisy, timesteps: denoiser(noisy, timesteps, conditions),
        torch.randn(networks.autoencoder.latent_shape, generator=generator).expand(len(levels), -1, -1, -1),
        schedule=NoiseSchedule(networks.schedule),
        sampler=GENERAL,
        generators=[generator] * len(levels),
        limit=statistics.limit,
    )
    latents = latents * torch.tensor(statistics.std)[:, None, None] + torch.tensor(statistics.mean)[:, None, None]
    decoder = bundle.network("label_autoencoder")
    maps, labels = to_maps(torch.cat([without_lesions(decoder.decode(part)) for part in latents.split(4)]))
    for fractions, label in zip(maps.numpy(), labels.numpy(), strict=True):
        drop_crumbs(fractions, label)
        close_gaps(fractions, label)
    return maps / 255


@torch.inference_mode()
def main(weights: str, out: Path) -> None:
    """Write the volumes into the folder `out`."""
    bundle = open_bundle(weights)
    maps = drawn_maps(bundle)
    affine = grid_affine() @ np.diag([1.0, 1.0, SPACING_MM, 1.0])
    affine[2, 3] += FIRST
    painter = bundle.network("spade_generator")
    for modality in ("t1", "flair"):
        bank = bundle.style_bank(modality)
        code = bank.mean.mean(dim=0, keepdim=True)
        painted = torch.cat([painter(part, code.expand(len(part), -1)) for part in maps.split(4)])[:, 0]
        values = (painted * bank.intensity_std + bank.intensity_mean).clamp(min=1)
        volume = torch.where(maps[:, BACKGROUND] >= 0.5, 0.0, values).round().short().permute(1, 2, 0)
        with replacing(out / f"{modality}.nii.gz") as temporary:
            nib.save(nib.Nifti1Image(volume.numpy(), affine), temporary)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    main(arguments.weights, arguments.out)
