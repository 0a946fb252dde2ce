"""The stage that trains the label autoencoder's decoder further, alone, on latents as samplers leave them.

Denoisers learn the means of posteriors, so that means are what a sampler draws, while the autoencoder's own training
decodes draws of the posterior: of means such a decoder makes too little grey matter and brainstem. And what a sampler
draws is a little off: a decoder that knows this does not take each slip for a piece of tissue.

Latents whose averages are to mean something (`pooled_weight`) are smooth, which denoisers like, and their decoder has
had to serve averages too. What it gave up of the folds it learns here. The encoder and so the latents stay as they are,
and with them every denoiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from brainspade_cli.bundle_config import LatentStatistics
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.training import losses
from brainspade_cli.training.autoencoder import NAME as AUTOENCODER
from brainspade_cli.training.batches import LabelTable
from brainspade_cli.training.checkpoints import newest_checkpoint
from brainspade_cli.training.loop import Batch, Plan, Stage, Update
from brainspade_cli.training.map_batches import draw_maps, load_maps, reconstructions, shown_maps
from brainspade_cli.training.rates import trapezoid
from brainspade_cli.training.run import Run

NAME = "decoder"


def train_decoder(
    run: Run, network: LabelAutoencoder, table: LabelTable, statistics: LatentStatistics
) -> LabelAutoencoder:
    """Train, or finish training, the decoder of a trained autoencoder, and return the whole in evaluation mode.

    Each latent is the mean of its posterior with noise of a deviation between 0 and the preset's `decoder_noise`, in
    units of the channel's own (`statistics`). The losses are L1 and cross-entropy; where pixels cannot be told the
    first keeps maps sharp, for it asks for the median and the second for the mean. A finished decoder is returned as it
    is, whatever scans there are now; one that belongs to another autoencoder is refused by its checkpoint.
    """
    settings = run.preset.labels
    spread = settings.decoder_noise * torch.tensor(statistics.std, device=run.machine.device)[:, None, None]
    shown = shown_maps(run, table, NAME)
    decoder = network.decoding_layers()

    def loss(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        maps = batch["maps"]
        with torch.no_grad():
            mean, _ = network.encode(maps)
        logits = network.decode(mean + batch["deviation"][:, None, None, None] * spread * batch["noise"])
        l1, cross_entropy = losses.map_l1(logits, maps), F.cross_entropy(logits.float(), maps)
        total = settings.decoder_l1_weight * l1 + settings.cross_entropy_weight * cross_entropy
        return total, {"l1": l1, "cross_entropy": cross_entropy}

    def draw(generator: torch.Generator) -> Plan:
        plan = draw_maps(run, table, generator)
        return {**plan, "deviation": torch.rand(len(plan["rows"]), generator=generator)}

    def load(plan: Plan) -> Batch:
        return {**load_maps(run, table, plan), "deviation": plan["deviation"].to(run.machine.device)}

    def picture(networks: Mapping[str, nn.Module]) -> Image:
        return reconstructions(run, network, shown)

    steps = settings.decoder_steps
    rate = trapezoid(settings.autoencoder_rate, settings.warmup_steps, steps)
    run.train(
        Stage(
            name=NAME,
            steps=steps,
            modules={NAME: decoder},
            updates=(Update(NAME, (NAME,), rate, loss),),
            draw=draw,
            load=load,
            settings=_settings(run, table),
            gradient_clip=settings.gradient_clip,
            picture=picture,
        )
    )
    network.eval().requires_grad_(False)
    return network


def _settings(run: Run, table: LabelTable) -> dict[str, Any]:
    """What a checkpoint must agree with to be resumed; a finished decoder agrees with any scans."""
    autoencoder = newest_checkpoint(run.folder(AUTOENCODER))
    assert autoencoder is not None, "a decoder is trained after its autoencoder"
    settings = {
        "autoencoder": autoencoder[1]["sha256"],
        "noise": run.preset.labels.decoder_noise,
        **run.origin(table.records),
    }
    found = newest_checkpoint(run.folder(NAME))
    if found is not None and found[1]["step"] >= run.preset.labels.decoder_steps:
        settings["scans"] = found[1]["settings"]["scans"]
    return settings
