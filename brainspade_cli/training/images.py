"""`brainspade train-images`: modality and dataset classifier, then style encoder and generator, then the style bank."""

from __future__ import annotations

from typing import Any

from brainspade_cli.console import Reporter
from brainspade_cli.errors import SliceSetError
from brainspade_cli.networks.modality_classifier import ModalityClassifier
from brainspade_cli.training.batches import image_table
from brainspade_cli.training.classifier import NAME as CLASSIFIER
from brainspade_cli.training.classifier import train_classifier
from brainspade_cli.training.painter import NAME as PAINTER
from brainspade_cli.training.painter import train_painter
from brainspade_cli.training.perceptual import PerceptualLoss, feature_extractor
from brainspade_cli.training.run import Run, TrainingRequest, open_run
from brainspade_cli.training.style_bank import make_style_bank


def train_images(request: TrainingRequest, perceptual: str, reporter: Reporter) -> dict[str, Any]:
    """Train the image generator on a slice set, and put it into the weights bundle; return what was trained.

    The request's `steps` are those of the generator; learning rates and ramped weights spread over the number that
    holds. `perceptual` names the network of the perceptual loss (`perceptual.NAMES`, or "auto"). Of weights to start
    from, encoder and generator are trained further; the discriminator starts afresh. A finished generator is resumed
    where `steps` is higher than before.

    Raises InputError for arguments that cannot be used, SliceSetError for slices that cannot, TrainingError where a
    loss is not a finite number.
    """
    settings = request.preset.images
    run = open_run(request, (CLASSIFIER, PAINTER), ("style_encoder", "spade_generator"), reporter)
    preset = run.preset
    guided = any((*settings.modality_weight, *settings.dataset_weight))
    classified = guided or perceptual == "self"
    run.machine.share_of(preset.images.batch)
    if classified and run.steps_of(CLASSIFIER) < preset.images.classifier_steps:
        run.machine.share_of(preset.images.classifier_batch)
    table = image_table(run.slice_set)
    if not table.labelled:
        raise SliceSetError(f"{request.slices} has no training scan with both an image and labels; prepare some.")
    count = settings.steps if request.steps is None else request.steps
    run.reporter.say(f"{len(table)} training images, {', '.join(table.modalities)}, of {', '.join(table.datasets)}")

    classifier = train_classifier(run, table) if classified else None
    features = _perceptual(run, perceptual, classifier)
    encoder, generator = train_painter(run, table, classifier if guided else None, features, steps=count)
    tensors, entries = make_style_bank(run.machine, encoder, table)
    stages = {name: {"steps": run.steps_of(name)} for name in (PAINTER, *([CLASSIFIER] if classifier else []))}
    run.update_bundle(
        {
            "networks": {"style_encoder": preset.style_encoder, "generator": preset.generator},
            "modalities": table.modalities,
            "datasets": table.datasets,
            "perceptual": "" if features is None else features.features.name,
            "style_bank": entries,
            "stages": stages,
        },
        {"style_encoder": encoder.state_dict(), "spade_generator": generator.state_dict(), "style_bank": tensors},
    )
    return {
        "out": str(run.out),
        "stages": {name: entry["steps"] for name, entry in stages.items()},
        "slices": len(table),
    }


def _perceptual(run: Run, name: str, classifier: ModalityClassifier | None) -> PerceptualLoss | None:
    if run.preset.images.perceptual_weight == 0:
        return None
    return PerceptualLoss(feature_extractor(name, classifier)).to(run.machine.device)
