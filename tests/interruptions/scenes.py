"""The commands that are interrupted: small inputs for each, and what of their output has to come out the same."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from brainspade_cli.slices import create_slice_set
from tests.conftest import make_scan
from tests.interruptions.small import small_preset
from tests.nnunet.sets import real_set, synthetic_set
from tests.phantoms import save, t1_of, tissue_phantom
from tests.preparing.test_prepare import region_phantom
from tests.sampling.parts import style_scan, tiny_bundle

COMMANDS = ("sample", "prepare", "train-labels", "train-images", "export-nnunet")
# Trainings that start from the networks of other weights.
FURTHER = ("train-labels --start-from", "train-images --start-from")
COARSE = (4.0, 4.0, 4.0)
DESCRIPTIONS = ("README.md", "croissant.json")
ON_CPU = ("--device", "cpu", "--precision", "fp32")


def make_inputs(folder: Path) -> Path:
    """What the commands read: random weights, a style scan, scans and label maps, slices, two raw datasets."""
    tiny_bundle(folder / "weights", sizes=small_preset())
    style_scan(folder / "t1.nii.gz")
    labels = tissue_phantom(COARSE)
    save(folder / "scans/atlas/sub-01/regions.nii.gz", region_phantom(labels), COARSE)
    save(folder / "scans/clinic/sub-01/flair.nii.gz", t1_of(labels), COARSE)
    save(folder / "scans/clinic/sub-02/t1.nii.gz", np.zeros((5, 5, 5), np.int16))
    create_slice_set(folder / "slices")
    for number in range(4):
        make_scan(folder / "slices", number, population="tumour" if number >= 2 else "healthy", held_out=number == 1)
    synthetic_set(folder / "Dataset501_made")
    real_set(folder / "Dataset010_real", test_cases=("t-01",))
    return folder


def arguments(command: str, inputs: Path, out: Path) -> list[str]:
    """What follows `brainspade` on the command line, for a result in `out`; `command` is of COMMANDS or FURTHER."""
    name, *further = command.split()
    lines: dict[str, list[object]] = {
        "sample": ["--style", inputs / "t1.nii.gz", "--weights", inputs / "weights", "--n", 10, "--tumour"],
        "prepare": [inputs / "scans", out, "--no-register", "--held-out", "sub-02"],
        "train-labels": [inputs / "slices", "--out", out, "--preset", "tiny", "--resume", *ON_CPU],
        "train-images": [inputs / "slices", "--out", out, "--preset", "tiny", "--resume", *ON_CPU],
        "export-nnunet": [inputs / "Dataset501_made", "--real", inputs / "Dataset010_real", "--out", out],
    }
    lines["sample"] += ["--steps", 1, "--save-pv", "--out", out, *ON_CPU]
    lines["train-labels"] += ["--population", "tumour"]
    lines["train-images"] += ["--perceptual", "self"]
    lines["export-nnunet"] += ["--id", 510, "--name", "x", "--task", "tumour", "--splits"]
    start = [inputs / "weights"] if further else []
    return [name, *map(str, lines[name]), *further, *map(str, start)]


def outcome(out: Path) -> dict[str, bytes]:
    """Every file below `out`, hidden ones too, by name.

    Left out: how long a training's steps took, all but its newest checkpoint, the lock (of nobody, then) of a stage
    that was killed when it had just been finished, what `prepare` reports of scans that it found prepared, and the
    dataset's name, which is its folder's, in what describes it. Nothing else depends on whether a command was
    interrupted.
    """
    files = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".at-work"):
        content = path.read_bytes()
        if path.name == "losses.csv":
            rows = [{**row, "seconds": ""} for row in csv.DictReader(io.StringIO(content.decode()))]
            content = repr(rows).encode()
        if path.name == "report.tsv":
            content = b"\n".join(line.split(b"\t")[0] for line in content.splitlines())
        if path.name in DESCRIPTIONS:
            content = content.replace(out.name.encode(), b"NAME")
        checkpoint = path.parent.name.startswith("checkpoint-")
        if not checkpoint or path.parent == max(path.parent.parent.glob("checkpoint-*")):
            files[str(path.relative_to(out))] = content
    return files
