"""Make borders in drawn labels as sharp as those of people, and leave every label as it is.

python examples/train_starter/sharpen.py weights/ WORK/sharper 1.25

A decoder answers a drawn latent, which is like no person's to the last detail, with doubt: borders are softer than in
any map that the painter learnt from. Every fraction of a map is raised to the power given, and each pixel's fractions
scaled to a sum of 1 again; so the decoder's last layer is multiplied by that power, before a softmax the same thing.
`decoder.py` would train it away: sharpen last. The new bundle is without codes of training slices: `publish.py` puts
them in.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from brainspade_cli.bundle_update import copy_bundle, create_or_update_bundle
from brainspade_cli.weights import open_bundle


@torch.no_grad()
def main(weights: Path, out: Path, power: float) -> None:
    """Copy `weights` to `out`, with PV fractions of drawn labels raised to `power`."""
    bundle = open_bundle(weights)
    autoencoder = bundle.network("label_autoencoder")
    last = [module for module in autoencoder.vae.decoder.modules() if isinstance(module, nn.Conv2d)][-1]
    last.weight.mul_(power)
    if last.bias is not None:
        last.bias.mul_(power)
    copy_bundle(bundle, out)
    create_or_update_bundle(out, config_updates={}, networks={"label_autoencoder": autoencoder.state_dict()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
