"""Good files that every attack starts from, made once, and copies of them that take no room."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from brainspade_cli.console import Reporter
from brainspade_cli.sampling.run import SampleRequest
from tests.conftest import make_scan
from tests.nnunet.sets import TABLE
from tests.sampling.parts import ellipse_label, save, style_scan, tiny_bundle

MM = (1.0, 1.0, 1.0)
COARSE = (4.0, 4.0, 6.0)


@dataclass(frozen=True)
class Material:
    """Good files, made once: every case starts from a copy of some of them."""

    folder: Path

    @staticmethod
    def make(folder: Path) -> Material:
        """Write everything that the targets start from below `folder`."""
        from brainspade_cli.bundle_config import Solver
        from brainspade_cli.bundle_update import create_or_update_bundle
        from brainspade_cli.sampling.sample import run_sampling
        from brainspade_cli.slices import create_slice_set

        tiny_bundle(folder / "bundle")
        solver = Solver((700, 100), ((0.9, 0.2), (0.1, -0.4, 1.3)))
        solvers = {"healthy": solver, "tumour": solver}
        create_or_update_bundle(folder / "bundle", config_updates={"solvers": solvers}, networks={})
        style_scan(folder / "scan_T1w.nii.gz")
        labels = folder / "labels"
        labels.mkdir()
        save(labels / "a.nii.gz", ellipse_label(tumour=True)[:, :, None], MM)
        made = Material(folder)
        for name in ("dataset", "png"):
            target = folder / f"Dataset50{len(name)}_{name}"
            run_sampling(made.request(folder, target, file_format="png" if name == "png" else "nifti"), quiet())
        _real_set(folder / "real")
        create_slice_set(folder / "slices")
        for number in (0, 4):
            make_scan(folder / "slices", number, population="tumour" if number >= 4 else "healthy", held_out=False)
        _coded_bundle(folder)
        _looked_at(made)
        return made

    def request(self, inputs: Path, out: Path, **changes: object) -> SampleRequest:
        """A run of two pairs on given labels, which draws nothing and paints with the tiny networks."""
        values = {
            "styles": (str(self.folder / "scan_T1w.nii.gz"),),
            "pairs": 2,
            "folder": out,
            "weights": str(self.folder / "bundle"),
            "labels": self.folder / "labels",
            "device": "cpu",
        }
        return SampleRequest(**{**values, **changes})  # type: ignore[arg-type]

    @property
    def dataset(self) -> Path:
        """A finished dataset of two pairs."""
        return self.folder / "Dataset507_dataset"

    @property
    def looked_at(self) -> Path:
        """The same with all that is found out of a dataset: an audit that flagged something, and an evaluation."""
        return self.folder / "Dataset508_looked_at"

    @property
    def coded(self) -> Path:
        """The weights of the datasets, with codes of training slices."""
        return self.folder / "coded"


def quiet() -> Reporter:
    """A reporter that says nothing but warnings."""
    return Reporter(quiet=True)


def linked(source: Path, target: Path) -> None:
    """A copy of a folder that takes no room."""
    shutil.copytree(source, target, copy_function=os.link)


def replace(path: Path, content: bytes) -> None:
    """Put other content at a path; what it is linked to stays as it is."""
    path.unlink()
    path.write_bytes(content)


def _real_set(folder: Path) -> None:
    """A real dataset of two small volumes."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    label = np.stack([ellipse_label(tumour=True)[::4, ::4]] * 3, axis=-1)
    for case in ("sub-01", "sub-02"):
        save(folder / "imagesTr" / f"{case}_0000.nii.gz", (label * 100 + 5).astype(np.int16), COARSE)
        save(folder / "labelsTr" / f"{case}.nii.gz", label, COARSE)
    header = {"channel_names": {"0": "t1"}, "labels": TABLE, "numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(header))


def _coded_bundle(folder: Path) -> None:
    """Weights with codes: none of anybody's slices, but as many and as long as those of a small training."""
    from brainspade_cli.auditing.codes import SIGNS, packed_codes
    from brainspade_cli.auditing.descriptors import SIZE
    from brainspade_cli.bundle_config import TRAINING_CODES
    from brainspade_cli.bundle_update import create_or_update_bundle

    linked(folder / "bundle", folder / "coded")
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name in ("labels", "images"):
        tensors[f"{name}.codes"] = packed_codes(torch.randn(60, SIGNS, generator=generator))
        tensors[f"{name}.directions"] = torch.randn(SIZE, SIGNS, generator=generator)
        tensors[f"{name}.between"] = (0.2 + 0.05 * torch.randn(60, generator=generator)).sort().values
        tensors[f"{name}.newcomers"] = (0.2 + 0.05 * torch.randn(20, generator=generator)).sort().values
        tensors[f"{name}.people"] = torch.tensor([10, 60])
    people = {"train": [f"person-{number}" for number in range(10)], "held_out": ["person-10"]}
    create_or_update_bundle(
        folder / "coded", config_updates={"people": people}, networks={TRAINING_CODES: tensors}, half=True
    )


def _looked_at(material: Material) -> None:
    """A dataset after `audit` and `evaluate`, one of its labels flagged with a picture."""
    from brainspade_cli.auditing.audit import AuditRequest, audit
    from brainspade_cli.evaluating.evaluate import EvaluationRequest, evaluate

    made = material.looked_at
    linked(material.dataset, made)
    audit(AuditRequest(made, weights=str(material.coded)), quiet())
    evaluate(EvaluationRequest(made, material.folder / "slices", "train"), quiet())
    path = made / "brainspade" / "audit.json"
    found = json.loads(path.read_text())
    flag = {"case": "brainspade_000000", "score": 0.93, "held_out": 0.2, "picture": "01.png"}
    flag["training"] = {"scan": "sub-01", "what": "labels", "slice": 3, "position_mm": 4.0}
    found |= {"verdict": "copies", "labels": found["labels"] | {"flagged": [flag]}}
    path.write_text(json.dumps(found))
    (path.parent / "audit").mkdir()
    Image.fromarray(np.zeros((30, 90, 3), np.uint8)).save(path.parent / "audit" / "01.png")
