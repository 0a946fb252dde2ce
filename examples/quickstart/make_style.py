"""Make the style scan of the quickstart: a FLAIR volume of a brain that is nobody's.

    python examples/quickstart/make_style.py SLICES examples/quickstart/flair.nii.gz

The anatomy is the population prior of a slice set (the average of its training people, each voxel given to its likeliest
tissue); the contrast is one style code from the weights' own bank. Painted every 4 mm.
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
def main(slices: Path, out: Path) -> None:
    """Write the volume to `out`."""
    maps = torch.from_numpy(likeliest_tissue(np.load(slices / "prior.npy", mmap_mode="r")))
    bundle = open_bundle()
    bank = bundle.style_bank("flair")
    code = bank.mean.mean(dim=0, keepdim=True)
    painter = bundle.network("spade_generator")
    painted = torch.cat([painter(part, code.expand(len(part), -1)) for part in maps.split(4)])[:, 0]
    values = (painted * bank.intensity_std + bank.intensity_mean).clamp(min=1)
    volume = torch.where(maps[:, 0] >= 0.5, 0.0, values).round().short().permute(1, 2, 0)
    affine = grid_affine() @ np.diag([1.0, 1.0, SPACING_MM, 1.0])
    affine[2, 3] += FIRST
    with replacing(out) as temporary:
        nib.save(nib.Nifti1Image(volume.numpy(), affine), temporary)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
