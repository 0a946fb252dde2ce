"""The commands that make weights: prepare, train-labels, train-images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from brainspade_cli.cli_options import (
    Device,
    Json,
    Out,
    Precision,
    PresetName,
    Quiet,
    Resume,
    Seed,
    SliceFolder,
    StartFrom,
)
from brainspade_cli.console import Reporter
from brainspade_cli.peers import is_peer


def prepare(
    scans: Annotated[Path, typer.Argument(help="A BIDS-like folder, or a TSV: subject, dataset, and a path per file.")],
    out: Annotated[Path, typer.Argument(help="Folder of the slice set to make or to complete.")],
    register: Annotated[bool, typer.Option(help="Align scans with ANTs; without, centre the brains.")] = True,
    held_out: Annotated[
        list[str] | None, typer.Option(help="A person to keep out of every training; give it once per person.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(envvar="BRAINSPADE_JOBS", metavar="K", min=1, help="Scans at a time (3 GB each).")
    ] = 1,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn scans and label maps into a slice set to train on.

    Example:  [bold]brainspade prepare scans/ slices/ --held-out sub-07[/bold]
    """
    from brainspade_cli.preparing.prepare import prepare as run

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = run(scans, out, register=register, held_out=held_out or (), jobs=jobs, reporter=reporter)
    kinds = ("labelled", "style only", "unchanged", "refused")
    populations = summary["populations"]
    only = f" --population {populations[0]}" if len(populations) == 1 else ""
    counts = ", ".join(f"{summary[kind]} {kind}" for kind in kinds if kind in summary)
    found = f"{summary['scans']} scans: {counts}."
    if populations:
        command = f"brainspade train-labels {shlex.quote(str(out))} --out my-weights/{only}"
        then = f" Look at {out}/contact-sheet-01.png, then:\n{command}"
    else:
        then = f" No scan to train on has labels, which trainings need: {out}/report.tsv says what became of each."
    reporter.result(found + then, summary)


def train_labels(
    slices: SliceFolder,
    out: Out,
    preset: PresetName = "starter",
    population: Annotated[str, typer.Option(metavar="NAME", help="Denoisers: healthy, tumour or both.")] = "both",
    steps: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Steps of each denoiser, in place of the preset's.")
    ] = None,
    start_from: StartFrom = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the label generator: the autoencoder of PV maps and the denoisers of its latents.

    Example:  [bold]brainspade train-labels slices/ --out my-weights/ --preset starter[/bold]
    """
    from brainspade_cli.presets import preset as named
    from brainspade_cli.training.labels import train_labels as run
    from brainspade_cli.training.run import TrainingRequest

    reporter = Reporter(quiet=quiet, as_json=as_json)
    request = TrainingRequest(
        slices=slices,
        out=out,
        preset=named(preset),
        steps=steps,
        resume=resume,
        seed=seed,
        device=device,
        precision=precision,
        start_from=start_from,
    )
    summary = run(request, population, reporter)
    _tell(reporter, f"Label networks are in {out}. Next:\nbrainspade train-images {slices} --out {out}", summary)


def train_images(
    slices: SliceFolder,
    out: Out,
    preset: PresetName = "starter",
    steps: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Steps of the generator, in place of the preset's.")
    ] = None,
    perceptual: Annotated[
        str,
        typer.Option(metavar="NAME", help="Network of the perceptual loss: auto, vgg19, efficientnet-lite0 or self."),
    ] = "auto",
    start_from: StartFrom = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the image generator: modality and dataset discriminator, style encoder and SPADE decoder.

    Example:  [bold]brainspade train-images slices/ --out my-weights/ --preset starter[/bold]
    """
    from brainspade_cli.presets import preset as named
    from brainspade_cli.training.images import train_images as run
    from brainspade_cli.training.run import TrainingRequest

    reporter = Reporter(quiet=quiet, as_json=as_json)
    request = TrainingRequest(
        slices=slices,
        out=out,
        preset=named(preset),
        steps=steps,
        resume=resume,
        seed=seed,
        device=device,
        precision=precision,
        start_from=start_from,
    )
    summary = run(request, perceptual, reporter)
    _tell(
        reporter,
        f"Image networks are in {out}. Next:\nbrainspade sample --style flair.nii.gz --n 200 --weights {out}",
        summary,
    )


def _tell(reporter: Reporter, text: str, summary: dict[str, Any]) -> None:
    """Say what a training made; of several processes the main one says it for all."""
    if not is_peer():
        reporter.result(text, summary)
