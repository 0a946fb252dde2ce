from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from brainspade_cli.anatomy import CSF, OEDEMA, WM
from tests.example_scripts import example_script
from tests.sampling.parts import tiny_bundle

SCRIPT = example_script("train_starter/borders.py")


def half(tissue: int = WM) -> np.ndarray:
    """A label of which one half is oedema, from the 96th row on."""
    label = np.full((192, 256), tissue, np.uint8)
    label[96:] = OEDEMA
    return label


def test_a_profile_follows_a_border_from_inside() -> None:
    label = half()
    distance = SCRIPT.signed_distance(label)
    assert [distance[row, 7] for row in (95, 96, 99)] == [0.5, -0.5, -3.5]
    image = ndimage.gaussian_filter((label == OEDEMA).astype(float), 1.5)
    expected = [image[row, 7] for row in (101, 99, 98, 97, 96, 95, 94, 90)]
    assert SCRIPT.profile(label, image) == pytest.approx(expected)


def test_other_tissue_has_no_part_in_it() -> None:
    assert np.isnan(SCRIPT.profile(half(CSF), np.ones((192, 256)))).sum() >= 4


def test_scans_are_held_against_what_is_painted(
    slice_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SCRIPT, "LEAST_LESION", 50)
    bundle = tiny_bundle(tmp_path)
    SCRIPT.main(slice_folder, str(bundle.folder))
    lines = [line.split(": ") for line in capsys.readouterr().out.splitlines()]
    assert [head for head, _ in lines] == [
        f"{modality}, 12 slices, {what}"
        for modality in ("t1", "flair")
        for what in ("scans", "painted as they are", "painted softly")
    ]
    off = [float(rest.split("off by ")[1]) for _, rest in lines]
    assert off[0] == off[3] == 0
    assert min(off[1:3] + off[4:]) > 0
    assert off[1] != off[2]
