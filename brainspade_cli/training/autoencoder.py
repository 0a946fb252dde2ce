"""The stage that trains the label autoencoder (paper 2.2): reconstruction, KL, perceptual and adversarial losses.

The paper's reconstruction loss is L1, on linear outputs. Through the softmax that makes the outputs partial volumes its
gradient vanishes where one tissue is taken for another with confidence, and small tissues are not learnt for long: in a
trial at half resolution, 200 steps brought deep grey matter and brainstem to a Dice of 0 with L1 alone, and of 0.73 and
0.80 with cross-entropy beside it, whose weight 0 gives the paper's loss.

Not in the paper either: averaged latents may be asked to decode to averaged maps (scale equivariance, Kouzelis 2025 and
Skorokhodov 2025). Without, latents carry much in fine patterns, which a denoiser learns last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from brainspade_cli.files import disk_errors
from brainspade_cli.networks.configs import to_dict
from brainspade_cli.networks.discriminators import LabelPatchDiscriminator
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.layout import channels_last
from brainspade_cli.training import losses
from brainspade_cli.training.batches import LabelTable
from brainspade_cli.training.checkpoints import TrainingState, newest_checkpoint, save_checkpoint
from brainspade_cli.training.loop import Batch, Stage, Update
from brainspade_cli.training.map_batches import draw_maps, load_maps, reconstructions, shown_maps
from brainspade_cli.training.perceptual import PerceptualLoss, maps_as_images
from brainspade_cli.training.rates import trapezoid
from brainspade_cli.training.run import Run

NAME = "autoencoder"
# Positions, each way, over which latents are averaged for the loss on averaged maps.
POOLED = (2, 4)


def train_autoencoder(run: Run, table: LabelTable, perceptual: PerceptualLoss | None) -> LabelAutoencoder:
    """Train, or finish training, the autoencoder on the table's slices, and return it in evaluation mode.

    A loss whose weight is 0 is not computed. Without `perceptual` there is no perceptual loss. A finished autoencoder
    is returned as it is, whatever scans and perceptual network are at hand now: it serves populations added later. So
    is the autoencoder of weights that the run starts from.
    """
    settings = run.preset.labels
    modules: dict[str, nn.Module] = {
        NAME: channels_last(run.build(NAME, lambda: LabelAutoencoder(run.preset.autoencoder), "label_autoencoder"))
    }
    if settings.adversarial_weight > 0:
        modules["discriminator"] = run.build(
            "label discriminator",
            lambda: LabelPatchDiscriminator(settings.discriminator_base, settings.discriminator_layers),
        )
    step = _Losses(run, modules, perceptual)
    updates = [Update(NAME, (NAME,), step.autoencoder_rate, step.autoencoder)]
    if settings.adversarial_weight > 0:
        updates.append(Update("discriminator", ("discriminator",), step.discriminator_rate, step.discriminator))
    shown = shown_maps(run, table, NAME)

    def picture(networks: Mapping[str, nn.Module]) -> Image:
        network = networks[NAME]
        assert isinstance(network, LabelAutoencoder)
        return reconstructions(run, network, shown)

    stage = Stage(
        name=NAME,
        steps=settings.autoencoder_steps,
        modules=modules,
        updates=tuple(updates),
        draw=lambda generator: draw_maps(run, table, generator),
        load=lambda plan: load_maps(run, table, plan),
        settings=_stage_settings(run, table, perceptual),
        gradient_clip=settings.gradient_clip,
        picture=picture,
    )
    if run.start is not None:
        _take_over(run, stage)
    trained = run.train(stage)[NAME]
    assert isinstance(trained, LabelAutoencoder)
    return trained.requires_grad_(False)


def _take_over(run: Run, stage: Stage) -> None:
    """Leave the checkpoint of a finished stage with the networks as they are, unless the stage has one already."""
    folder = run.folder(NAME)
    with disk_errors(folder, "go on with --resume"), run.machine.alone(folder):
        if run.machine.is_main and newest_checkpoint(folder) is None:
            save_checkpoint(folder, TrainingState(stage.modules, {}, {}), stage.steps, stage.settings)
        run.machine.wait()


def finished_autoencoder(run: Run) -> dict[str, Any] | None:
    """The state (step, settings) of the run's autoencoder if it has all its steps, else None."""
    found = newest_checkpoint(run.folder(NAME))
    return found[1] if found is not None and found[1]["step"] >= run.preset.labels.autoencoder_steps else None


def _stage_settings(run: Run, table: LabelTable, perceptual: PerceptualLoss | None) -> dict[str, Any]:
    """What a checkpoint must agree with to be resumed; a finished one agrees with any scans and perceptual network."""
    settings = {
        "autoencoder": to_dict(run.preset.autoencoder),
        "discriminator": run.preset.labels.adversarial_weight > 0,
        "perceptual": None if perceptual is None else perceptual.features.name,
        **run.origin(table.records),
    }
    finished = finished_autoencoder(run)
    if finished is not None:
        settings |= {
            name: finished["settings"][name] for name in ("perceptual", "scans") if name in finished["settings"]
        }
    return settings


class _Losses:
    """The two updates of a step. The first leaves its reconstruction in the batch for the second."""

    def __init__(self, run: Run, modules: Mapping[str, nn.Module], perceptual: PerceptualLoss | None) -> None:
        self.settings = run.preset.labels
        network = modules[NAME]
        assert isinstance(network, LabelAutoencoder)
        self.network = network
        self.critic = modules.get("discriminator")
        self.perceptual = perceptual if self.settings.perceptual_weight > 0 else None
        steps, warmup = self.settings.autoencoder_steps, self.settings.warmup_steps
        self.autoencoder_rate = trapezoid(self.settings.autoencoder_rate, warmup, steps)
        self.discriminator_rate = trapezoid(self.settings.discriminator_rate, warmup, steps)

    def autoencoder(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction, cross-entropy, KL, perceptual and adversarial terms, weighted as the preset says."""
        settings, maps = self.settings, batch["maps"]
        mean, log_variance = self.network.encode(maps)
        latents = mean + torch.exp(0.5 * log_variance) * batch["noise"]
        logits = self.network.decode(latents)
        decoded = torch.softmax(logits.float(), dim=1)
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        if settings.reconstruction_weight > 0:
            terms["l1"] = losses.map_l1(logits, maps)
            weights["l1"] = settings.reconstruction_weight
        if settings.cross_entropy_weight > 0:
            terms["cross_entropy"] = F.cross_entropy(logits.float(), maps)
            weights["cross_entropy"] = settings.cross_entropy_weight
        if settings.pooled_weight > 0:
            terms["pooled"] = self._pooled(latents, maps)
            weights["pooled"] = settings.pooled_weight
        if settings.kl_weight > 0:
            terms["kl"] = losses.spatial_kl(mean, log_variance)
            weights["kl"] = settings.kl_weight
        if self.perceptual is not None:
            pair = (maps_as_images(_picked(some, batch["channels"])) for some in (decoded, maps))
            terms["perceptual"] = self.perceptual(*pair)
            weights["perceptual"] = settings.perceptual_weight
        if self.critic is not None:
            terms["adversarial"] = losses.least_squares_generator_loss(self.critic(decoded))
            weights["adversarial"] = settings.adversarial_weight
        batch["decoded"] = decoded.detach()
        return sum((weights[name] * terms[name] for name in terms), torch.zeros((), device=maps.device)), terms

    def _pooled(self, latents: Tensor, maps: Tensor) -> Tensor:
        """L1 and cross-entropy of what averaged latents decode to, beside the averaged maps: the mean over factors."""
        values = []
        for factor in POOLED:
            logits, target = self.network.decode(F.avg_pool2d(latents, factor)), F.avg_pool2d(maps, factor)
            values.append(losses.map_l1(logits, target) + F.cross_entropy(logits.float(), target))
        return torch.stack(values).mean()

    def discriminator(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Least-squares loss of the discriminator on real and reconstructed maps."""
        assert self.critic is not None
        loss = losses.least_squares_discriminator_loss(self.critic(batch["maps"]), self.critic(batch["decoded"]))
        return loss, {"discriminator": loss}


def _picked(maps: Tensor, channels: Tensor) -> Tensor:
    """The chosen channels (B, k) of maps (B, 8, H, W), as (B, k, H, W)."""
    return torch.take_along_dim(maps, channels[:, :, None, None], dim=1)
