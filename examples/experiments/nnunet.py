"""nnU-Net v2, 2d, for real: its planning, preprocessing, training and prediction, by its own commands.

The plan that nnU-Net makes for the first arm of a task serves all arms of it: the same network, patch, batch size and
normalisation, so that arms differ in their data alone. `small` then cuts network, patch and batch down.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.errors import BrainspadeError, DatasetError
from brainspade_cli.files import write_json
from brainspade_cli.nnunet.dataset import RawCase
from brainspade_cli.nnunet.planes import NIFTI, read_plane

HERE = Path(__file__).parent
DATASET = "501"
TRAINER = "ExperimentTrainer"
# Our plans' name; that of a training has its number behind it.
PLANS = "experiment"


@dataclass(frozen=True)
class Cut:
    """What `small` makes of nnU-Net's plan: fewer levels and features, a smaller patch and batch."""

    features: tuple[int, ...] = (16, 32, 64, 128, 128)
    patch: tuple[int, int] = (128, 128)
    batch: int = 8


@dataclass(frozen=True)
class NnunetSegmenter:
    """`epochs` x `iterations` steps. `cut` None keeps nnU-Net's own plan. `shared`: folder of the plans of all tasks.

    `mirror`: average over mirrored images in prediction, as nnU-Net does. `device`: "cpu" or "cuda". `bf16`: train in
    bfloat16 on a CPU, where nnU-Net would in float32 (on a GPU it chooses half precision itself).
    """

    epochs: int
    iterations: int
    validation_iterations: int
    cut: Cut | None
    mirror: bool
    shared: Path
    device: str
    bf16: bool

    @property
    def key(self) -> str:
        """Name of its folder."""
        settings = {name: value for name, value in asdict(self).items() if name not in ("device", "shared")}
        digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:6]
        return f"nnunet-{'small' if self.cut else 'full'}-{self.epochs * self.iterations}-{digest}"

    def train(self, raw: Path, arm: Path, folder: Path, seed: int) -> None:
        """Plan and preprocess once an arm, then train; a training that was cut off goes on from its last checkpoint."""
        preprocessed = arm / "nnUNet_preprocessed" / raw.name
        plans = self._plans(raw, arm, preprocessed)
        settings = {
            "seed": seed,
            "epochs": self.epochs,
            "iterations": self.iterations,
            "validation_iterations": self.validation_iterations,
            "bf16": self.bf16,
        }
        name = f"{PLANS}-{folder.name}"
        write_json(preprocessed / f"{name}.json", {**plans, "plans_name": name, "experiment": settings})
        arguments = [DATASET, "2d", "all", "-tr", TRAINER, "-p", name, "-device", self.device]
        if list(self._results(raw, arm, name).glob("checkpoint_*.pth")):
            arguments.append("--c")
        self._run(raw, arm, "train", *arguments)

    def predict(
        self, raw: Path, arm: Path, folder: Path, cases: Sequence[RawCase]
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Give each case's name and label (X, Y)."""
        # What an interrupted prediction has left is only gone on with for the same images.
        digest = hashlib.sha256("".join(str(image) for case in cases for image in case.images).encode()).hexdigest()[:8]
        source, target = folder / "images", folder / f"segmented-{digest}"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        for case in cases:
            for channel, image in enumerate(case.images):
                shutil.copyfile(image, source / f"{case.name}_{channel:04d}{NIFTI}")
        arguments = ["-i", str(source), "-o", str(target), "-d", DATASET, "-c", "2d", "-f", "all", "-tr", TRAINER]
        arguments += ["-p", f"{PLANS}-{folder.name}", "-chk", "checkpoint_final.pth", "-device", self.device]
        arguments += ["-npp", "1", "-nps", "1", "--continue_prediction", *([] if self.mirror else ["--disable_tta"])]
        self._run(raw, arm, "predict", *arguments)
        for case in cases:
            path = target / f"{case.name}{NIFTI}"
            try:
                segmented = read_plane(path)[0]
            except DatasetError:
                # A kill may have cut it off, and nnU-Net goes on from what is there, whatever it holds.
                path.unlink(missing_ok=True)
                self._run(raw, arm, "predict", *arguments)
                segmented = read_plane(path)[0]
            yield case.name, segmented.astype(np.uint8)
        shutil.rmtree(source)
        shutil.rmtree(target)

    def _plans(self, raw: Path, arm: Path, preprocessed: Path) -> dict[str, Any]:
        """The plan of this arm, its data preprocessed by it."""
        ours = preprocessed / f"{PLANS}.json"
        done = preprocessed / "preprocessed.json"
        if done.is_file():
            return _read(ours)
        header = _read(raw / "dataset.json")
        # What is ignored is none of the network's outputs.
        labels = len(header["labels"].keys() - {"ignore"})
        shared = self.shared / f"{self.key}-{labels}-labels-{len(header['channel_names'])}-channels.json"
        self._run(
            raw,
            arm,
            "plan",
            "-d",
            DATASET,
            "-c",
            "2d",
            "--no_pp",
            "-npfp",
            "1",
            "--verify_dataset_integrity",
            "--no_pbar",
        )
        if not shared.is_file():
            self.shared.mkdir(parents=True, exist_ok=True)
            write_json(shared, planned(_read(preprocessed / "nnUNetPlans.json"), self.cut))
        plans = _read(shared)
        write_json(ours, plans)
        self._run(raw, arm, "preprocess", "-d", DATASET, "-plans_name", PLANS, "-c", "2d", "-np", "1", "--no_pbar")
        write_json(done, {"plans": PLANS})
        return plans

    def _results(self, raw: Path, arm: Path, plans: str) -> Path:
        return arm / "nnUNet_results" / raw.name / f"{TRAINER}__{plans}__2d" / "fold_all"

    def _run(self, raw: Path, arm: Path, *arguments: str) -> None:
        """Run one of nnU-Net's commands, what it prints going into a log; raises BrainspadeError where it fails."""
        arm.mkdir(parents=True, exist_ok=True)
        log = arm / "nnunet.log"
        with open(log, "a", encoding="utf-8") as handle:
            finished = subprocess.run(
                [sys.executable, str(HERE / "nnunet_driver.py"), *arguments],
                env=self._environment(raw, arm, arguments[0]),
                stdout=handle,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if finished.returncode:
            said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            raise BrainspadeError(
                f"nnU-Net's {arguments[0]} failed ({' '.join(said[-2:])}); the whole story is in {log}."
            )

    def _environment(self, raw: Path, arm: Path, command: str) -> dict[str, str]:
        chosen: Mapping[str, str] = {
            "nnUNet_raw": str(raw.parent.resolve()),
            "nnUNet_preprocessed": str((arm / "nnUNet_preprocessed").resolve()),
            "nnUNet_results": str((arm / "nnUNet_results").resolve()),
            "nnUNet_extTrainer": str(HERE / "trainers"),
        }
        if self.device != "cpu":
            return {**os.environ, **chosen}
        # Compiling takes longer than a small training. nnU-Net plans with one worker at least, and trains without.
        workers = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "0" if command == "train" else "1"}
        return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **chosen, **workers, "nnUNet_def_n_proc": "1"}


def planned(plans: dict[str, Any], cut: Cut | None) -> dict[str, Any]:
    """nnU-Net's plans under our name, with the 2d configuration cut down where `cut` says so."""
    configuration = json.loads(json.dumps(plans["configurations"]["2d"]))
    if cut:
        network = configuration["architecture"]["arch_kwargs"]
        levels = min(len(cut.features), network["n_stages"])
        configuration["patch_size"], configuration["batch_size"] = list(cut.patch), cut.batch
        network["n_stages"] = levels
        network["features_per_stage"] = list(cut.features[:levels])
        for name in ("kernel_sizes", "strides", "n_conv_per_stage"):
            network[name] = network[name][:levels]
        network["n_conv_per_stage_decoder"] = network["n_conv_per_stage_decoder"][: levels - 1]
    return {**plans, "plans_name": PLANS, "configurations": {"2d": configuration}}


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
