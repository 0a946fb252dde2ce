"""The stage that trains the modality and dataset discriminator (paper A.1), on real images, before the painter."""

from __future__ import annotations

import torch
from torch import Tensor

from brainspade_cli.networks.configs import to_dict
from brainspade_cli.networks.modality_classifier import ModalityClassifier
from brainspade_cli.training import losses
from brainspade_cli.training.augment import Augmenter, draw_contrast, draw_disturbance
from brainspade_cli.training.batches import ImageTable, draw_rows
from brainspade_cli.training.deform import mirror
from brainspade_cli.training.loop import Batch, Plan, Stage, Update
from brainspade_cli.training.rates import exponential
from brainspade_cli.training.run import Run

NAME = "classifier"
# The released code falls from 1e-2 to 1e-4.
FINAL_FRACTION = 0.01


def train_classifier(run: Run, table: ImageTable) -> ModalityClassifier:
    """Train, or finish training, the classifier on real training images; returns it frozen, in evaluation mode.

    Images are augmented as for the painter but never remapped: a remapped image is of no modality.
    """
    settings, device = run.preset.images, run.machine.device
    network = run.build(
        NAME, lambda: ModalityClassifier(run.preset.classifier, len(table.modalities), len(table.datasets))
    )
    augmenter = Augmenter.on(device)

    def draw(generator: torch.Generator) -> Plan:
        count = settings.classifier_batch
        plan = {
            "rows": draw_rows(table.groups, count, generator),
            "mirror": torch.rand(count, generator=generator) < (0.5 if settings.flip else 0.0),
            **draw_contrast(count, generator, settings),
            **draw_disturbance(count, generator, settings, "image"),
        }
        return {**plan, "remapped": torch.zeros(count, dtype=torch.bool)}

    def load(plan: Plan) -> Batch:
        image = mirror(table.read(plan["rows"]).to(device), plan["mirror"])
        image = augmenter.disturb(augmenter.contrast(image, plan), plan["image_bias"], plan["image_noise"])
        modality, dataset = table.targets(plan["rows"])
        return {"image": image, "modality": modality.to(device), "dataset": dataset.to(device)}

    def loss(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        by_modality, by_dataset = network(batch["image"])
        modality, dataset = losses.modality_dataset_losses(by_modality, by_dataset, batch["modality"], batch["dataset"])
        right = (by_modality.argmax(dim=1) == batch["modality"]).float().mean()
        return modality + dataset, {"modality": modality, "dataset": dataset, "modality_right": right}

    rate = exponential(settings.classifier_rate, FINAL_FRACTION, settings.classifier_steps)
    stage = Stage(
        name=NAME,
        steps=settings.classifier_steps,
        modules={NAME: network},
        updates=(Update(NAME, (NAME,), rate, loss),),
        draw=draw,
        load=load,
        settings={
            "classifier": to_dict(run.preset.classifier),
            "modalities": table.modalities,
            "datasets": table.datasets,
            **run.origin(table.records),
        },
    )
    run.train(stage)
    return network.requires_grad_(False)
