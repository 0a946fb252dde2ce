"""Train style encoder and painter of trained weights further, and leave every other network as it is.

python examples/train_starter/painter.py WORK/slices weights/ WORK/further

What comes out is the average, weight by weight, of where the training began and where it ended: on most measures it
paints people whom it never saw more like their scans than either end does. The new bundle is then in WORK/further,
without codes of training slices: `publish.py` puts them in. Stop it at any time; the same command goes on. It runs in
one process.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_update import copy_bundle, create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.presets import Preset, preset
from brainspade_cli.slices import open_slice_set
from brainspade_cli.training.batches import image_table
from brainspade_cli.training.images import train_images
from brainspade_cli.training.machine import open_machine
from brainspade_cli.training.painter import NAME as PAINTER
from brainspade_cli.training.run import TrainingRequest
from brainspade_cli.training.style_bank import make_style_bank
from brainspade_cli.weights import open_bundle

ENTRIES = ("stages", "modalities", "datasets", "perceptual", "people")
# How much of the average is the end of the training.
SHARE = 0.7
# Power iterations, from vectors that are nearly right.
SETTLING = 50


def settings() -> Preset:
    """`starter`, at a lower rate, with the weights of texture and pixels that `starter-gpu` has."""
    starter, gpu = preset("starter"), preset("starter-gpu")
    images = replace(
        starter.images,
        steps=3300,
        generator_rate=8e-4,
        adversarial_weight=gpu.images.adversarial_weight,
        reconstruction_weight=gpu.images.reconstruction_weight,
    )
    return replace(starter, images=images)


def main(slices: Path, weights: Path, out: Path, training: Preset, device: str = "auto") -> None:
    """Train the painter of `weights` for the steps of `training`; put the average and all else of them into `out`."""
    request = TrainingRequest(slices, out / "painter", training, resume=True, start_from=str(weights), device=device)
    train_images(request, "auto", Reporter())
    start, trained = open_bundle(str(weights)), open_bundle(str(out / "painter"))
    copy_bundle(start, out)
    config = trained.config.to_json()
    config["stages"][PAINTER]["steps"] += start.config.stages.get(PAINTER, {}).get("steps", 0)
    machine = open_machine(device, "auto")
    encoder = cast(StyleEncoder, _average(start, trained, "style_encoder").to(machine.device))
    generator = _average(start, trained, "spade_generator")
    # A bank is worth nothing to another encoder.
    bank, styles = make_style_bank(machine, encoder, image_table(open_slice_set(slices)))
    create_or_update_bundle(
        out,
        config_updates={**{name: config[name] for name in ENTRIES}, "style_bank": styles},
        networks={
            "style_encoder": encoder.state_dict(),
            "spade_generator": generator.state_dict(),
            "style_bank": bank,
        },
    )


def _average(start: Bundle, trained: Bundle, name: str) -> nn.Module:
    """A network whose weights lie `SHARE` of the way from those of one bundle to those of another."""
    begun, ended = start.network(name), trained.network(name)
    with torch.no_grad():
        for ours, theirs in zip(ended.parameters(), begun.parameters(), strict=True):
            ours.lerp_(theirs, 1 - SHARE)
        # The vectors by which spectral norm knows the weights' norms: those of the end, brought to the average.
        ended.train()
        for _ in range(SETTLING):
            for module in ended.modules():
                if is_parametrized(module, "weight"):
                    module.weight  # noqa: B018 - in training, each look is a power iteration
    return ended.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    main(arguments.slices, arguments.weights, arguments.out, settings())
