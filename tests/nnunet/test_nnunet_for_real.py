"""nnU-Net's own commands on what this project writes: integrity, plan, one short training, a prediction. Minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.nnunet.export import export
from brainspade_cli.nnunet.raw import NIFTI, PNG
from tests.nnunet.sets import phantom, real_set, synthetic_set

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
pytestmark = pytest.mark.slow

DRIVER = Path(__file__).parents[1] / "nnunet_driver.py"
CASES = [f"brainspade_{number:06d}" for number in range(12)]


@pytest.fixture
def nnunet(tmp_path):
    """nnU-Net with folders of its own: call it as nnunet("plan", "-d", "501")."""
    folders = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    environment = (
        os.environ
        | folders
        | {
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            "nnUNet_compile": "f",
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
    )

    def run(*arguments: str) -> str:
        finished = subprocess.run(
            [sys.executable, str(DRIVER), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, (finished.stdout + finished.stderr)[-3000:]
        return finished.stdout

    return run


def plan(nnunet, tmp_path, number, name):
    """Check and plan as a user would; returns the 2d plan."""
    nnunet("plan", "-d", str(number), "--verify_dataset_integrity", "-c", "2d", "-np", "1", "-npfp", "1")
    plans = json.loads((tmp_path / "nnUNet_preprocessed" / f"Dataset{number}_{name}" / "nnUNetPlans.json").read_text())
    assert plans["transpose_forward"] == [0, 1, 2]
    assert set(plans["configurations"]) == {"2d"}
    return plans["configurations"]["2d"]


@pytest.mark.parametrize("ending", [NIFTI, PNG])
def test_samples_are_planned_whole_trained_on_and_predicted(nnunet, tmp_path, ending):
    raw = tmp_path / "nnUNet_raw" / "Dataset501_brainspade"
    synthetic_set(raw, CASES, channels=("t1", "flair"), file_ending=ending, corners=True)
    planned = plan(nnunet, tmp_path, 501, "brainspade")
    # (y, x), as both of nnU-Net's readers see a slice.
    assert planned["patch_size"] == list(SLICE_SHAPE[::-1])
    assert planned["normalization_schemes"] == ["ZScoreNormalization"] * 2

    nnunet("train", "501", "2d", "0", "-tr", "TinyTrainer", "-device", "cpu")
    (tmp_path / "in").mkdir()
    for path in (raw / "imagesTr").glob(f"{CASES[0]}_*"):
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    predict = "-d 501 -c 2d -f 0 -tr TinyTrainer -device cpu -npp 1 -nps 1 --disable_tta -chk checkpoint_final.pth"
    nnunet("predict", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *predict.split())
    predicted = tmp_path / "out" / f"{CASES[0]}{ending}"
    if ending == PNG:
        with Image.open(predicted) as picture:
            assert picture.size == SLICE_SHAPE
    else:
        image, label = nib.load(predicted), nib.load(raw / "labelsTr" / predicted.name)
        assert image.shape == label.shape
        assert np.allclose(image.affine, label.affine)


def test_hybrid_with_volumes_is_planned_in_slices_and_keeps_its_splits(nnunet, tmp_path, reporter):
    made = synthetic_set(tmp_path / "made" / "Dataset501_brainspade", CASES)
    labels = {"background": 0, "csf": 1, "gm": 2, "wm": 3}
    real = real_set(
        tmp_path / "made" / "Dataset010_real",
        [f"sub-{number:02d}" for number in range(5)],
        labels=labels,
        values={4: 2, 5: 3, 6: 3, 7: 3},
    )
    folder = tmp_path / "nnUNet_raw"
    export([made], folder, 502, "hybrid", "tissues", real, splits=True, check=True, reporter=reporter)
    planned = plan(nnunet, tmp_path, 502, "hybrid")
    rows, columns = np.nonzero(phantom(0)[1].T)
    brain = [np.ptp(rows) + 1, np.ptp(columns) + 1]
    assert np.allclose(planned["median_image_size_in_voxels"], brain, rtol=0.1)
    assert all(planned["patch_size"] >= np.array(planned["median_image_size_in_voxels"]))
    splits = (tmp_path / "nnUNet_preprocessed" / "Dataset502_hybrid" / "splits_final.json").read_text()
    assert splits == (folder / "Dataset502_hybrid" / "splits_final.json").read_text()

    said = nnunet("train", "502", "2d", "0", "-tr", "TinyTrainer", "-device", "cpu")
    assert "This split has 16 training and 1 validation cases." in said
    results = tmp_path / "nnUNet_results" / "Dataset502_hybrid" / "TinyTrainer__nnUNetPlans__2d" / "fold_0"
    validated = {path.name.removesuffix(NIFTI) for path in (results / "validation").glob(f"*{NIFTI}")}
    assert validated == set(json.loads(splits)[0]["val"])
    assert "ignore" in json.loads((folder / "Dataset502_hybrid" / "dataset.json").read_text())["labels"]
