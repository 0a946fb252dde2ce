"""How much memory does a training need, and how many examples at a time fit a device that is not at hand?

    python examples/benchmarks/memory.py paper --gigabytes 80

Two steps of every stage are trained on a CPU in bfloat16, on slices of noise, with one example and with three at a
time, each training in a process of its own; peaks of resident memory give what a stage needs whatever the batch, and
what each example adds. A device of its own adds what its libraries take, and blocks that it cannot fill. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from commands import peak_so_far
from torch import nn

from brainspade_cli.anatomy import CHANNELS
from brainspade_cli.console import Reporter
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.presets import Preset, preset, presets
from brainspade_cli.slices import ScanRecord, create_slice_set, write_array, write_record
from brainspade_cli.training.images import train_images
from brainspade_cli.training.labels import train_labels
from brainspade_cli.training.loop import Stage
from brainspade_cli.training.run import Run, TrainingRequest

STEPS = 2
BATCHES = (1, 3)
SLICES = 3


@dataclass(frozen=True)
class Peak:
    """Peak memory in bytes of a stage that was trained with `batch` examples at a time; `parameters` it trains."""

    stage: str
    batch: int
    parameters: int
    peak: int


def main(name: str, gigabytes: float) -> None:
    """Measure both trainings of a preset and print the table."""
    peaks = []
    for training in ("labels", "images"):
        for batch in BATCHES:
            command = [sys.executable, __file__, name, "--measure", training, str(batch)]
            lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
            peaks += [Peak(**json.loads(line)) for line in lines]
    print("\n".join(table(peaks, preset(name), gigabytes)))


def table(peaks: Sequence[Peak], chosen: Preset, gigabytes: float) -> list[str]:
    """A row a stage: what it needs for itself and an example, and how much of the preset's batch fits at a time."""
    batches = {"autoencoder": chosen.labels.autoencoder_batch, "decoder": chosen.labels.autoencoder_batch}
    batches |= {"classifier": chosen.images.classifier_batch, "painter": chosen.images.batch}
    lines = [
        f"| stage | parameters | GB for itself | GB an example | batch | examples at a time in {gigabytes:.0f} GB |",
        "|---|---|---|---|---|---|",
    ]
    for stage in dict.fromkeys(peak.stage for peak in peaks):
        few, many = (next(one for one in peaks if one.stage == stage and one.batch == count) for count in BATCHES)
        each = max(0.0, (many.peak - few.peak) / (many.batch - few.batch)) / 1e9
        itself = few.peak / 1e9 - few.batch * each
        batch = fitting = batches.get(stage, chosen.labels.denoiser_batch)
        # As a training does when memory runs out.
        while fitting > 1 and itself + fitting * each > gigabytes:
            fitting = -(-fitting // 2)
        fits = str(fitting) if itself + fitting * each <= gigabytes else "none"
        lines.append(f"| {stage} | {few.parameters / 1e6:.1f} M | {itself:.2f} | {each:.3f} | {batch} | {fits} |")
    return lines


def measure(name: str, training: str, batch: int) -> list[Peak]:
    """Train every stage of one training for a few steps in this process."""
    peaks = []
    train = Run.train

    def watched(run: Run, stage: Stage) -> dict[str, nn.Module]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        trained = train(run, replace(stage, picture=None))
        parameters = sum(value.numel() for module in stage.modules.values() for value in module.parameters())
        peaks.append(Peak(stage.name, batch, parameters, peak_so_far(os.getpid())))
        return trained

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Run, "train", watched),
        # Fitting a sampler takes little memory, and hours of two cores: hundreds of evaluations of a large denoiser.
        patch("brainspade_cli.training.labels.denoiser_solver", return_value=None),
    ):
        _make_slices(Path(folder) / "slices")
        request = TrainingRequest(
            Path(folder) / "slices",
            Path(folder) / "weights",
            _short(preset(name), batch),
            device="cpu",
            precision="bf16",
        )
        if training == "labels":
            train_labels(request, "healthy", Reporter())
        else:
            train_images(request, "auto", Reporter())
    return peaks


def _short(chosen: Preset, batch: int) -> Preset:
    """A preset with few steps of few examples, and nothing else changed that takes memory."""
    labels = replace(
        chosen.labels,
        autoencoder_steps=STEPS,
        decoder_steps=min(STEPS, chosen.labels.decoder_steps),
        denoiser_steps=STEPS,
        autoencoder_batch=batch,
        denoiser_batch=batch,
        latent_copies=1,
    )
    images = replace(chosen.images, classifier_steps=STEPS, classifier_batch=batch, steps=STEPS, batch=batch)
    return replace(chosen, labels=labels, images=images)


def _make_slices(folder: Path) -> None:
    """A slice set of two people, whose labels and images are noise."""
    create_slice_set(folder)
    generator = np.random.default_rng(0)
    for number in range(2):
        name = f"sub-{number}"
        positions = tuple(10.0 * k for k in range(SLICES))
        pixels = tuple(SLICE_SHAPE[0] * SLICE_SHAPE[1] for _ in range(SLICES))
        none = tuple(0 for _ in range(SLICES))
        labels = generator.integers(1, CHANNELS - 2, (SLICES, *SLICE_SHAPE))
        maps = 255 * np.moveaxis(np.eye(CHANNELS, dtype=np.uint8)[labels], -1, 1)
        scan = folder / "scans" / name
        scan.mkdir(parents=True)
        write_array(scan / "labels.npy", maps)
        for modality in ("t1", "flair"):
            write_array(scan / f"{modality}.npy", generator.standard_normal(labels.shape).astype(np.float16))
        record = ScanRecord(
            name=name,
            subject=name,
            person=name,
            dataset="noise",
            split="train",
            population="healthy",
            modalities=("t1", "flair"),
            has_labels=True,
            positions=positions,
            brain_pixels=pixels,
            tumour_pixels=none,
            lesion_load=tuple(0.0 for _ in range(SLICES)),
            fingerprint=name,
        )
        write_record(folder, record)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=tuple(presets()))
    parser.add_argument("--gigabytes", type=float, default=80.0, help="memory of the device")
    parser.add_argument("--measure", nargs=2, metavar=("TRAINING", "BATCH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        for found in measure(arguments.preset, arguments.measure[0], int(arguments.measure[1])):
            print(json.dumps(vars(found)))
    else:
        main(arguments.preset, arguments.gigabytes)
