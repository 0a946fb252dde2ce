"""The stage that trains style encoder and SPADE generator against a multi-scale discriminator (paper 2.3, A.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from PIL.Image import Image
from torch import Tensor, nn

from brainspade_cli.networks.configs import to_dict
from brainspade_cli.networks.discriminators import MultiScaleDiscriminator
from brainspade_cli.networks.layout import channels_last
from brainspade_cli.networks.modality_classifier import ModalityClassifier
from brainspade_cli.networks.spade_generator import SpadeGenerator
from brainspade_cli.networks.style_encoder import StyleEncoder, sample_style
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.training import losses
from brainspade_cli.training.augment import Augmenter, draw_contrast, draw_disturbance
from brainspade_cli.training.batches import ImageTable, draw_rows
from brainspade_cli.training.deform import draw_affine, mirror, warp
from brainspade_cli.training.loop import Batch, Plan, Stage, Update, step_generator
from brainspade_cli.training.perceptual import PerceptualLoss
from brainspade_cli.training.pictures import painting_rows
from brainspade_cli.training.rates import exponential
from brainspade_cli.training.run import Run

NAME = "painter"
SHOWN = 8
BETAS = (0.5, 0.99)
# The affine copy that a style must be recognised in; ranges of the released code, in-plane and drawn for each sample.
COPY_SCALE = 0.2
COPY_DEGREES = 43.0
COPY_SHIFT = 3.0


def train_painter(
    run: Run,
    table: ImageTable,
    classifier: ModalityClassifier | None,
    perceptual: PerceptualLoss | None,
    *,
    steps: int,
) -> tuple[StyleEncoder, SpadeGenerator]:
    """Train, or finish training, encoder and generator; returns their moving averages, in evaluation mode.

    A pair is a content slice and another slice of the same volume as its style, redrawn at every visit. A loss whose
    weight is 0 is not computed.
    """
    settings, device = run.preset.images, run.machine.device
    modules: dict[str, nn.Module] = {
        "style_encoder": run.build("style_encoder", lambda: StyleEncoder(run.preset.style_encoder), "style_encoder"),
        "generator": channels_last(
            run.build("generator", lambda: SpadeGenerator(run.preset.generator), "spade_generator")
        ),
    }
    adversarial = settings.adversarial_weight > 0 or settings.feature_matching_weight > 0
    if adversarial:
        modules["discriminator"] = run.build("discriminator", lambda: MultiScaleDiscriminator(run.preset.discriminator))
    objective = _Losses(run, modules, classifier, perceptual, steps)
    updates = [
        Update(
            "generator",
            ("style_encoder", "generator"),
            exponential(settings.generator_rate, settings.rate_decay_to, steps),
            objective.generator,
            BETAS,
        )
    ]
    if adversarial:
        rate = exponential(settings.discriminator_rate, settings.rate_decay_to, steps)
        updates.append(Update("discriminator", ("discriminator",), rate, objective.discriminator, BETAS))
    augmenter = Augmenter.on(device)

    def load(plan: Plan) -> Batch:
        return _load(plan, table, augmenter, device)

    stage = Stage(
        name=NAME,
        steps=steps,
        modules=modules,
        updates=tuple(updates),
        draw=lambda generator: _draw(run, table, settings.batch, generator),
        load=load,
        settings={
            "style_encoder": to_dict(run.preset.style_encoder),
            "generator": to_dict(run.preset.generator),
            "discriminator": to_dict(run.preset.discriminator) if adversarial else None,
            "perceptual": None if perceptual is None else perceptual.features.name,
            **run.origin(table.records),
        },
        averaged=("style_encoder", "generator"),
        ema_decay=settings.ema_decay,
        gradient_clip=settings.gradient_clip,
        picture=lambda networks: _picture(run, table, augmenter, networks),
    )
    trained = run.train(stage)
    encoder, generator = trained["style_encoder"], trained["generator"]
    assert isinstance(encoder, StyleEncoder)
    assert isinstance(generator, SpadeGenerator)
    return encoder, generator


def _draw(run: Run, table: ImageTable, count: int, generator: torch.Generator) -> Plan:
    settings, width = run.preset.images, run.preset.style_encoder.style_dim
    rows = draw_rows(table.labelled, count, generator)
    flips = torch.rand(2, count, generator=generator) < (0.5 if settings.flip else 0.0)
    plan = {
        "rows": rows,
        "styles": table.other_slices(rows, torch.rand(count, generator=generator)),
        "mirror": flips[0],
        "mirror_style": flips[1],
        "copy": draw_affine(
            count, generator, scale=COPY_SCALE, degrees=COPY_DEGREES, shift=COPY_SHIFT, flip=settings.flip
        ),
        "style_draw": torch.randn(count, width, generator=generator),
        "copy_draw": torch.randn(count, width, generator=generator),
        **draw_contrast(count, generator, settings),
        **draw_disturbance(count, generator, settings, "style"),
        **draw_disturbance(count, generator, settings, "target"),
    }
    # For each example, so that every share of the batch knows it of the whole.
    return {**plan, "natural_share": (~plan["remapped"]).float().mean().repeat(count)}


def _load(plan: Plan, table: ImageTable, augmenter: Augmenter, device: torch.device) -> Batch:
    pair = torch.cat([table.read(plan["rows"]), table.read(plan["styles"])], dim=1).to(device)
    target, style = augmenter.contrast(pair, plan).split(1, dim=1)
    modality, dataset = table.targets(plan["rows"])
    batch = {
        "maps": mirror(table.maps(plan["rows"], device), plan["mirror"]),
        "target": augmenter.disturb(mirror(target, plan["mirror"]), plan["target_bias"], plan["target_noise"]),
        "style": augmenter.disturb(mirror(style, plan["mirror_style"]), plan["style_bias"], plan["style_noise"]),
        "modality": modality,
        "dataset": dataset,
        "natural": ~plan["remapped"],
        **{name: plan[name] for name in ("natural_share", "copy", "style_draw", "copy_draw")},
    }
    return {name: value.to(device) for name, value in batch.items()}


@torch.no_grad()
def _picture(run: Run, table: ImageTable, augmenter: Augmenter, networks: Mapping[str, nn.Module]) -> Image:
    """Rows of style slices, labels, what is painted from both, and the real images of those labels."""
    device = run.machine.device
    batch = _load(_draw(run, table, SHOWN, step_generator(run.seed, f"{NAME} shown", 0)), table, augmenter, device)
    with run.machine.autocast():
        mean, _ = networks["style_encoder"](batch["style"])
        painted = networks["generator"](batch["maps"], mean)
    return painting_rows([batch["style"], batch["maps"], painted, batch["target"]])


class _Losses:
    """The two updates of a step. The first leaves its painted image in the batch for the second."""

    def __init__(
        self,
        run: Run,
        modules: Mapping[str, nn.Module],
        classifier: ModalityClassifier | None,
        perceptual: PerceptualLoss | None,
        steps: int,
    ) -> None:
        self.settings = run.preset.images
        self.encoder, self.painter = modules["style_encoder"], modules["generator"]
        self.critic = modules.get("discriminator")
        self.classifier, self.perceptual, self.steps = classifier, perceptual, steps

    def generator(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """All terms of paper A.1 that have a weight, and the optional pixel loss."""
        settings, style = self.settings, batch["style"]
        mean, log_variance = self.encoder(style)
        code = sample_style(mean, log_variance, batch["style_draw"])
        painted = self.painter(batch["maps"], code).float()
        batch["painted"] = painted.detach()
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.critic is not None:
            fake = self.critic(batch["maps"], painted)
            terms["adversarial"] = settings.adversarial_weight, losses.hinge_generator_loss(fake)
            if settings.feature_matching_weight > 0:
                with torch.no_grad():
                    real = self.critic(batch["maps"], batch["target"])
                terms["features"] = settings.feature_matching_weight, losses.feature_matching_loss(real, fake)
        if self.perceptual is not None:
            terms["perceptual"] = settings.perceptual_weight, self.perceptual(painted, batch["target"])
        if settings.kl_weight > 0:
            # A sum over the whole batch, of which this may be a share: gradients are averaged over shares.
            terms["kl"] = settings.kl_weight, settings.batch / len(style) * losses.style_kl(mean, log_variance)
        if settings.contrastive_weight > 0:
            copy = warp(style - BACKGROUND_VALUE, batch["copy"]) + BACKGROUND_VALUE
            copy_mean, copy_log_variance = self.encoder(copy)
            copy_code = sample_style(copy_mean, copy_log_variance, batch["copy_draw"])
            terms["contrastive"] = settings.contrastive_weight, losses.contrastive_loss(code, copy_code)
        if self.classifier is not None:
            modality, dataset = self._classes(painted, batch)
            terms["modality"] = losses.ramp(settings.modality_weight, step, self.steps), modality
            terms["dataset"] = losses.ramp(settings.dataset_weight, step, self.steps), dataset
        if settings.reconstruction_weight > 0:
            terms["l1"] = settings.reconstruction_weight, losses.image_l1(painted, batch["target"])
        total = sum((weight * value for weight, value in terms.values()), torch.zeros((), device=style.device))
        return total, {name: value for name, (_, value) in terms.items()}

    def discriminator(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Hinge loss on real images and on those that the generator painted in this step."""
        assert self.critic is not None
        real = self.critic(batch["maps"], batch["target"])
        fake = self.critic(batch["maps"], batch["painted"])
        loss = losses.hinge_discriminator_loss(real, fake)
        return loss, {"discriminator": loss}

    def _classes(self, painted: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Modality and dataset losses of the painted images, means over those whose contrast was not remapped.

        This may be a share of the batch, and gradients are averaged over shares: each counts as it has such images.
        """
        assert self.classifier is not None
        natural = batch["natural"]
        if not bool(natural.any()):
            return painted.sum() * 0, painted.sum() * 0
        modality, dataset = self.classifier(painted[natural])
        weight = natural.float().mean() / batch["natural_share"][0]
        means = losses.modality_dataset_losses(modality, dataset, batch["modality"][natural], batch["dataset"][natural])
        return weight * means[0], weight * means[1]
