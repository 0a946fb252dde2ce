from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from brainspade_cli.anatomy import LABELS, OEDEMA, WM
from brainspade_cli.nnunet.raw import RawLayout, write_case, write_dataset_json
from tests.example_scripts import example_script
from tests.sampling.parts import ellipse_label


def test_oedemas_of_people_and_of_pairs_are_told_apart(
    slice_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = ellipse_label(tumour=True)
    image = np.where(label > 0, 500, 0).astype(np.int16)
    image[label == OEDEMA], image[label == WM] = 800, 600
    layout = RawLayout(tmp_path, ".nii.gz")
    layout.create()
    for name in ("a", "b"):
        write_case(layout, name, image[None], label)
    write_dataset_json(tmp_path, {one.name: one.channel for one in LABELS}, ("flair",), 2, ".nii.gz")
    example_script("train_starter/oedema.py").main(slice_folder, tmp_path)
    printed = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    # Three patients train; their FLAIRs were made with oedemas brighter than white matter, their T1s with darker ones.
    assert float(printed["flair, 3 training patients"].split()[0]) > 1
    assert float(printed["t1, 3 training patients"].split()[0]) < -1
    difference = 200 / image[label > 0].std()
    numbers = [float(number) for number in re.findall(r"[\d.]+", printed["flair, 2 pairs"])]
    assert numbers == pytest.approx([difference, 0, difference, difference], abs=0.005)
