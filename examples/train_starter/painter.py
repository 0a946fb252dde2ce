"""Train style encoder and painter of trained weights further, at a lower rate, and leave every other network as it is.

python examples/train_starter/painter.py WORK/slices weights/ WORK/further

The new bundle is then in WORK/further, without codes of training slices: `publish.py` puts them in. Stop it at any
time; the same command goes on. It runs in one process.
"""

import sys
from dataclasses import replace
from pathlib import Path

from brainspade_cli.bundle_update import copy_bundle, create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.presets import Preset, preset
from brainspade_cli.training.images import train_images
from brainspade_cli.training.painter import NAME as PAINTER
from brainspade_cli.training.run import TrainingRequest
from brainspade_cli.weights import open_bundle

PARTS = ("style_encoder", "spade_generator", "style_bank")
ENTRIES = ("stages", "modalities", "datasets", "perceptual", "style_bank", "people")


def settings() -> Preset:
    """`starter`, at a third of its rate, with the weights of texture and pixels that `starter-gpu` has."""
    starter, gpu = preset("starter"), preset("starter-gpu")
    images = replace(
        starter.images,
        steps=1600,
        generator_rate=3e-4,
        adversarial_weight=gpu.images.adversarial_weight,
        reconstruction_weight=gpu.images.reconstruction_weight,
    )
    return replace(starter, images=images)


def main(slices: Path, weights: Path, out: Path, training: Preset, device: str = "auto") -> None:
    """Train the painter of `weights` for the steps of `training`; put it and all else of them into `out`."""
    request = TrainingRequest(slices, out / "painter", training, resume=True, start_from=str(weights), device=device)
    train_images(request, "auto", Reporter())
    start, trained = open_bundle(weights), open_bundle(out / "painter")
    copy_bundle(start, out)
    config = trained.config.to_json()
    config["stages"][PAINTER]["steps"] += start.config.stages.get(PAINTER, {}).get("steps", 0)
    create_or_update_bundle(
        out,
        config_updates={name: config[name] for name in ENTRIES},
        networks={part: trained.tensors(part) for part in PARTS},
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), training=settings())
