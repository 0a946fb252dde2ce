"""Batches of partial-volume maps for the stages that learn to put maps into latents and back."""

from __future__ import annotations

import torch
from PIL.Image import Image
from torch import Tensor

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.training.batches import LabelTable
from brainspade_cli.training.deform import draw_affine, warp_maps
from brainspade_cli.training.loop import Batch, Plan, step_generator
from brainspade_cli.training.pictures import label_rows
from brainspade_cli.training.run import Run

SHOWN = 8


def draw_maps(run: Run, table: LabelTable, generator: torch.Generator) -> Plan:
    """Rows of the table, how each is deformed, the noise of its latent, and an order of channels to look at."""
    settings, config = run.preset.labels, run.preset.autoencoder
    count = settings.autoencoder_batch
    return {
        "rows": table.draw(count, generator),
        "affine": draw_affine(
            count,
            generator,
            scale=settings.affine_scale,
            degrees=settings.affine_degrees,
            shift=settings.affine_shift,
            flip=settings.flip,
        ),
        "noise": torch.randn(count, *config.latent_shape, generator=generator),
        "channels": torch.rand(count, CHANNELS, generator=generator).argsort(dim=1)[:, : settings.perceptual_channels],
    }


def load_maps(run: Run, table: LabelTable, plan: Plan) -> Batch:
    """The deformed maps (B, 8, 192, 256) of a plan, with its noise and channels, on the device."""
    device = run.machine.device
    maps = warp_maps(table.maps(plan["rows"], device), plan["affine"])
    return {"maps": maps, "noise": plan["noise"].to(device), "channels": plan["channels"].to(device)}


def shown_maps(run: Run, table: LabelTable, name: str) -> Tensor:
    """Maps (8, 8, 192, 256) whose reconstructions a stage's pictures show."""
    return table.maps(table.draw(SHOWN, step_generator(run.seed, f"{name} shown", 0)))


def reconstructions(run: Run, network: LabelAutoencoder, shown: Tensor) -> Image:
    """A row of maps above a row of what comes back of them."""
    with run.machine.autocast():
        decoded = network.decode_maps(network.encode(shown.to(run.machine.device))[0])
    return label_rows([shown, decoded.cpu()])
