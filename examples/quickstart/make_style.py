"""Make the style scans of the quickstart, t1.nii.gz and flair.nii.gz: volumes of a brain that is nobody's.

    python examples/quickstart/make_style.py SLICES WEIGHTS examples/quickstart

The anatomy is the population prior of a slice set (the average of its training people, each voxel given to its
likeliest tissue); each contrast is the mean of the weights' own bank of styles. Painted every 4 mm.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.files import replacing
from brainspade_cli.geometry import grid_affine
from brainspade_cli.weights import open_bundle

SPACING_MM = 4
FIRST, LAST = 30, 140


def likeliest_tissue(prior: np.ndarray) -> np.ndarray:
    """PV maps (slices, channels, 192, 256) with the edges of 1 mm voxels, from averaged maps (channels, X, Y, Z)."""
    levels = np.arange(FIRST, LAST, SPACING_MM)
    chosen = prior[..., levels].argmax(axis=0)
    masks = np.stack([chosen == channel for channel in range(CHANNELS)]).astype(np.float32)
    blurred = ndimage.gaussian_filter(masks, (0, 0.7, 0.7, 0))
    return (blurred / blurred.sum(axis=0)).transpose(3, 0, 1, 2)


@torch.inference_mode()
def main(slices: Path, weights: str, out: Path) -> None:
    """Write the volumes into the folder `out`."""
    maps = torch.from_numpy(likeliest_tissue(np.load(slices / "prior.npy", mmap_mode="r")))
    affine = grid_affine() @ np.diag([1.0, 1.0, SPACING_MM, 1.0])
    affine[2, 3] += FIRST
    bundle = open_bundle(weights)
    painter = bundle.network("spade_generator")
    for modality in ("t1", "flair"):
        bank = bundle.style_bank(modality)
        code = bank.mean.mean(dim=0, keepdim=True)
        painted = torch.cat([painter(part, code.expand(len(part), -1)) for part in maps.split(4)])[:, 0]
        values = (painted * bank.intensity_std + bank.intensity_mean).clamp(min=1)
        volume = torch.where(maps[:, 0] >= 0.5, 0.0, values).round().short().permute(1, 2, 0)
        with replacing(out / f"{modality}.nii.gz") as temporary:
            nib.save(nib.Nifti1Image(volume.numpy(), affine), temporary)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
