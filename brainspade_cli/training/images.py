"""`brainspade train-images`: modality and dataset classifier, then style encoder and generator, then the style bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, SliceSetError
from brainspade_cli.networks.modality_classifier import ModalityClassifier
from brainspade_cli.presets import Preset
from brainspade_cli.training.batches import image_table
from brainspade_cli.training.classifier import NAME as CLASSIFIER
from brainspade_cli.training.classifier import train_classifier
from brainspade_cli.training.painter import NAME as PAINTER
from brainspade_cli.training.painter import train_painter
from brainspade_cli.training.perceptual import PerceptualLoss, feature_extractor
from brainspade_cli.training.run import Run, open_run
from brainspade_cli.training.style_bank import make_style_bank


def train_images(
    slices: Path,
    out: Path,
    preset: Preset,
    *,
    steps: int | None,
    resume: bool,
    seed: int,
    device: str,
    precision: str,
    reporter: Reporter,
    perceptual: str = "auto",
    start_from: str | None = None,
) -> dict[str, Any]:
    """Train the image generator on a slice set, and put it into the weights bundle `out`; return what was trained.

    `steps` replaces the preset's number of generator steps and nothing else; learning rates and ramped weights spread
    over the number that holds. `perceptual` names the network of the perceptual loss (`perceptual.NAMES`, or "auto").
    `start_from` are weights whose encoder and generator are trained further (a folder, a Hub name, or "default"); the
    discriminator starts afresh.
    With `resume`, a finished classifier is skipped, an unfinished stage goes on from its newest whole checkpoint, and a
    finished generator goes on where `steps` is higher than before.

    Raises InputError for arguments that cannot be used, SliceSetError for slices that cannot, TrainingError where a
    loss is not a finite number.
    """
    if steps is not None and steps < 1:
        raise InputError(f"A training takes at least 1 step, not {steps}.")
    settings = preset.images
    run = open_run(
        slices,
        out,
        preset,
        (CLASSIFIER, PAINTER),
        resume=resume,
        seed=seed,
        device=device,
        precision=precision,
        reporter=reporter,
        start_from=start_from,
        parts=("style_encoder", "spade_generator"),
    )
    preset = run.preset
    table = image_table(run.slice_set)
    if not table.labelled:
        raise SliceSetError(f"{slices} has no training scan with both an image and labels; prepare some.")
    count = settings.steps if steps is None else steps
    run.reporter.say(f"{len(table)} training images, {', '.join(table.modalities)}, of {', '.join(table.datasets)}")

    guided = any((*settings.modality_weight, *settings.dataset_weight))
    classifier = train_classifier(run, table) if guided or perceptual == "self" else None
    features = _perceptual(run, perceptual, classifier)
    encoder, generator = train_painter(run, table, classifier if guided else None, features, steps=count)
    tensors, entries = make_style_bank(run, encoder, table)
    stages = {PAINTER: {"steps": count}}
    if classifier is not None:
        stages[CLASSIFIER] = {"steps": settings.classifier_steps}
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
    return {"out": str(out), "stages": {name: entry["steps"] for name, entry in stages.items()}, "slices": len(table)}


def _perceptual(run: Run, name: str, classifier: ModalityClassifier | None) -> PerceptualLoss | None:
    if run.preset.images.perceptual_weight == 0:
        return None
    return PerceptualLoss(feature_extractor(name, classifier)).to(run.machine.device)
