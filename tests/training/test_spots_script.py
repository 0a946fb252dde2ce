from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainspade_cli.anatomy import CSF, LABELS
from brainspade_cli.errors import InputError
from brainspade_cli.nnunet.raw import RawLayout, write_case, write_dataset_json
from brainspade_cli.slices import open_slice_set, write_record
from tests.example_scripts import example_script
from tests.sampling.parts import ellipse_label


def test_spots_are_counted_at_their_heights(
    slice_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = ellipse_label()
    label[90:110, 110:130] = CSF
    noise = np.random.default_rng(0).normal(0, 20, label.shape)
    plain = np.where(label > 0, np.where(label == CSF, 300, 500) + noise, 0).astype(np.int16)
    spotted = plain.copy()
    spotted[95:97, 115:120] = 2000
    layout = RawLayout(tmp_path, ".nii.gz")
    layout.create()
    for name, image, height in (("a", plain, -30.0), ("b", spotted, -30.0), ("c", spotted, 30.0), ("d", plain, 90.0)):
        write_case(layout, name, image[None], label, height)
    lesioned = ellipse_label(tumour=True)
    write_case(layout, "e", np.where(lesioned > 0, spotted, 0)[None], lesioned, -30.0)
    write_dataset_json(tmp_path, {one.name: one.channel for one in LABELS}, ("flair",), 5, ".nii.gz")
    example_script("train_starter/spots.py").main(slice_folder, tmp_path, "flair")
    printed = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    bright = 1000 * 10 / int((label == CSF).sum())
    assert printed["pairs, -40 to -20 mm"] == (f"2 slices, 50% with spots, {bright / 2:.1f} in 1,000 pixels of CSF")
    assert printed["pairs, 20 to 60 mm"] == f"1 slices, 100% with spots, {bright:.1f} in 1,000 pixels of CSF"
    assert printed["pairs, -60 to -40 mm"] == "no slices"
    assert len(printed) == 8


def test_people_count_whose_labels_are_known(slice_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    shutil.copytree(slice_folder, folder)
    scan = next(iter(open_slice_set(folder).select(split="train", population="tumour")))
    (folder / "scans" / scan.name / "labels.npy").unlink()
    write_record(folder, replace(scan, has_labels=False))
    spots = example_script("train_starter/spots.py")
    heights = [height for height, _, _ in spots.of_people(folder, "flair")]
    assert heights == [-10.0 + 10.0 * k for k in range(6)] * 2


def test_a_dataset_that_numbers_its_labels_otherwise_is_refused(slice_folder: Path, tmp_path: Path) -> None:
    RawLayout(tmp_path, ".nii.gz").create()
    write_case(RawLayout(tmp_path, ".nii.gz"), "a", np.zeros((1, 192, 256), np.int16), ellipse_label() * 0, 0.0)
    write_dataset_json(tmp_path, {"background": 0, "csf": 1}, ("flair",), 1, ".nii.gz")
    with pytest.raises(InputError, match="has other labels than those that `brainspade sample` writes"):
        example_script("train_starter/spots.py").main(slice_folder, tmp_path, "flair")
