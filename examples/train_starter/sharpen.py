"""Make borders in drawn labels sharper; the labels stay, but for pixels where two tissues are all but equal.

python examples/train_starter/sharpen.py weights/ WORK/sharper 1.25

A decoder answers a drawn latent, which is like no person's to the last detail, with doubt: borders are softer than in
the maps that the painter learnt from. Every fraction of a map is raised to the power given, and each pixel's fractions
scaled to a sum of 1 again; so the decoder's last layer is multiplied by that power, before a softmax the same thing.
config.json has the power, multiplied by any from before, among the stages. Sharpen last: what trains the decoder
further trains this away. Codes of training slices do not come along; `publish.py` puts them in.
"""

import argparse
from pathlib import Path

import torch

from brainspade_cli.bundle_update import copy_bundle, create_or_update_bundle
from brainspade_cli.errors import InputError
from brainspade_cli.weights import open_bundle

NAME = "sharpened"


@torch.no_grad()
def main(weights: Path, out: Path, power: float) -> None:
    """Copy `weights` to `out`, with PV fractions of drawn labels raised to `power`; InputError where both are one."""
    bundle = open_bundle(str(weights))
    if out.resolve() == bundle.folder:
        raise InputError(f"{out} has the weights to sharpen; choose another folder for those that come out.")
    autoencoder = bundle.network("label_autoencoder")
    last = autoencoder.vae.decoder.blocks[-1].conv
    last.weight.mul_(power)
    last.bias.mul_(power)
    before = bundle.config.stages.get(NAME, {}).get("power", 1.0)
    copy_bundle(bundle, out)
    create_or_update_bundle(
        out,
        config_updates={"stages": {NAME: {"power": before * power}}},
        networks={"label_autoencoder": autoencoder.state_dict()},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("power", type=float)
    arguments = parser.parse_args()
    main(arguments.weights, arguments.out, arguments.power)
