from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from brainspade_cli.anatomy import CSF, GM, LABELS, WM
from brainspade_cli.errors import InputError
from brainspade_cli.sampling import given_labels
from brainspade_cli.sampling.given_labels import GivenLabels, LabelFile, frame, read_labels
from tests.phantoms import affine_of, save
from tests.sampling.parts import ellipse_label, one_hot_maps, quiet

MM = (1.0, 1.0, 1.0)


def test_slices_are_taken_as_they_are_and_in_turn(tmp_path: Path) -> None:
    plain, ill = ellipse_label(), ellipse_label(tumour=True)
    save(tmp_path / "b.nii.gz", ill[:, :, None], MM)
    save(tmp_path / "a.nii.gz", plain[:, :, None], MM)
    labels = GivenLabels(tmp_path, quiet())
    draws = labels.draw(range(8))
    assert labels.count == 2
    assert [draw.origin for draw in draws[:3]] == ["a.nii.gz slice 0", "b.nii.gz slice 0", "a.nii.gz slice 0"]
    assert (draws[0].label == plain).all()
    assert (draws[1].label == ill).all()
    assert [draw.lesion for draw in draws[:2]] == [False, True]
    assert (draws[1].maps == one_hot_maps(ill)).all()


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LIA"])
def test_volumes_give_their_brain_slices_in_any_orientation(tmp_path: Path, axes: str) -> None:
    volume = np.zeros((192, 256, 5), np.uint8)
    volume[:, :, 1] = ellipse_label(shift=10)
    volume[:, :, 3] = ellipse_label(tumour=True)
    volume[50:53, 50:53, 4] = GM
    save(tmp_path / "v.nii.gz", volume, MM, axes)
    labels = GivenLabels(tmp_path, quiet())
    assert labels.count == 2
    draws = labels.draw(range(8))
    assert (draws[0].label == volume[:, :, 1]).all()
    assert (draws[1].label == volume[:, :, 3]).all()
    assert draws[1].position_mm - draws[0].position_mm == pytest.approx(2)


def test_empty_slices_in_files_of_their_own_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", np.zeros((192, 256, 1), np.uint8), MM)
    with pytest.raises(InputError, match="No slice in"):
        GivenLabels(tmp_path, quiet())
    save(tmp_path / "b.nii.gz", ellipse_label()[:, :, None], MM)
    assert GivenLabels(tmp_path, quiet()).count == 1


def framed(path: Path) -> NDArray[np.float32]:
    file = read_labels(path)
    return frame(file.plane(0), file.spacing, file.centre)


def test_other_sizes_and_spacings_come_to_the_frame(tmp_path: Path) -> None:
    small = ellipse_label()[20:172, 30:226]
    save(tmp_path / "small.nii.gz", small[:, :, None], MM)
    # Its maps are one-hot at 1 mm: nothing is smoothed, and the ellipse stands where the frame's middle is.
    moved = framed(tmp_path / "small.nii.gz")
    assert set(np.unique(moved)) == {0, 1}
    assert np.abs(np.argwhere(moved[0] == 0).mean(axis=0) - (95.5, 127.5)).max() <= 0.5
    coarse = ellipse_label()[::2, ::2]
    save(tmp_path / "coarse.nii.gz", coarse[:, :, None], (2.0, 2.0, 2.0))
    grown = framed(tmp_path / "coarse.nii.gz")
    assert np.allclose(grown.sum(axis=0), 1, atol=1e-5)
    assert (grown.argmax(axis=0) == ellipse_label()).mean() > 0.98


@pytest.mark.parametrize("scale", [1, 255])
def test_pv_maps_are_read_from_nifti_and_npz(tmp_path: Path, scale: int) -> None:
    maps = one_hot_maps(ellipse_label()).astype(np.float32) / 255
    maps[GM], maps[WM] = 0.75 * maps[GM], maps[WM] + 0.25 * maps[GM]
    stored = np.round(maps * scale, 6).astype(np.float32)
    np.savez(tmp_path / "b.npz", pv=stored)
    nib.save(
        nib.Nifti1Image(np.moveaxis(stored, 0, -1)[:, :, None], affine_of((192, 256, 1), MM)), tmp_path / "a.nii.gz"
    )
    draws = GivenLabels(tmp_path, quiet()).draw(range(8))
    for draw in draws[:2]:
        assert np.abs(draw.maps / 255 - maps).max() <= 1 / 255
        assert (draw.maps.sum(axis=0, dtype=int) == 255).all()


def test_each_file_is_read_once_for_all_of_its_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.nii.gz", np.repeat(ellipse_label()[20:172, :, None], 16, axis=2), MM)
    labels, read = GivenLabels(tmp_path, quiet()), []

    def counted(path: Path) -> LabelFile:
        read.append(path.name)
        return read_labels(path)

    monkeypatch.setattr(given_labels, "read_labels", counted)
    blocks = [range(start, start + 8) for start in range(0, 48, 8)]
    drawn = [draw.origin for block in blocks for draw in labels.draw(block)]
    assert drawn == [f"{name}.nii.gz slice {k}" for name in "abc" for k in range(16)]
    assert read == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    # Lanes may come to the files a little out of their order.
    with ThreadPoolExecutor(4) as lanes:
        assert drawn == [draw.origin for block in lanes.map(labels.draw, blocks) for draw in block]


def test_hidden_files_are_left_alone(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", ellipse_label()[:, :, None], MM)
    (tmp_path / "._a.nii.gz").write_bytes(b"what some systems put beside a file")
    assert GivenLabels(tmp_path, quiet()).count == 1


def test_the_digest_is_of_the_contents(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", ellipse_label()[:, :, None], MM)
    first = GivenLabels(tmp_path, quiet()).digest
    save(tmp_path / "a.nii", ellipse_label(shift=3)[:, :, None], MM)
    assert GivenLabels(tmp_path, quiet()).digest != first


def test_a_whole_dataset_is_answered_with_where_its_labels_are(tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / "a.png").touch()
    with pytest.raises(InputError, match=r"is a dataset whose labels are no NIfTI files"):
        GivenLabels(tmp_path, quiet())
    save(tmp_path / "brainspade" / "pv" / "a.nii", ellipse_label()[:, :, None], MM)
    with pytest.raises(InputError, match=r"is a dataset, .* --labels .*pv\."):
        GivenLabels(tmp_path, quiet())
    save(tmp_path / "labelsTr" / "a.nii", ellipse_label()[:, :, None], MM)
    with pytest.raises(InputError, match=r"is a dataset, .* --labels .*labelsTr\."):
        GivenLabels(tmp_path, quiet())
    assert GivenLabels(tmp_path / "labelsTr", quiet()).count == 1


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        ({"labels": {"background": 0, "whole_tumour": 1}, "brainspade": {"task": "tumour"}}, True),
        ({"labels": {label.name: label.channel for label in LABELS}, "brainspade": {"task": "all"}}, False),
        ({"labels": {"background": 0, "CSF": 1}}, False),
        ([], False),
    ],
)
def test_labels_of_an_export_with_numbers_of_its_own_are_refused(tmp_path: Path, header: object, refused: bool) -> None:
    """A tumour that is number 1 there would be painted as CSF."""
    save(tmp_path / "labelsTr" / "a.nii", ellipse_label()[:, :, None], MM)
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    if refused:
        with pytest.raises(InputError, match=r"numbers labels in its own way, .*exported from"):
            GivenLabels(tmp_path / "labelsTr", quiet())
    else:
        assert GivenLabels(tmp_path / "labelsTr", quiet()).count == 1


def test_what_is_no_label_is_said(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            GivenLabels(tmp_path, quiet())
        for file in tmp_path.iterdir():
            file.unlink()

    refused("holds no label maps")
    with pytest.raises(InputError, match="no folder of labels"):
        GivenLabels(tmp_path / "absent", quiet())
    save(tmp_path / "a.nii", (ellipse_label() * 10)[:, :, None], MM)
    refused("values 10, 20, 30, which are no labels here; use 0 background, 1 csf")
    maps = one_hot_maps(ellipse_label()).astype(np.float32) / 255
    np.savez(tmp_path / "a.npz", maps[:, :, :] * 0.5)
    refused("PV maps that do not sum to 1")
    np.savez(tmp_path / "a.npz", maps[:3])
    refused(r"must hold one array of PV maps, \(8, X, Y\)")
    np.savez(tmp_path / "a.npz", np.array([{"a": 1}], dtype=object))
    refused("must hold one array of PV maps")
    (tmp_path / "a.nii").write_bytes(b"junk")
    refused("not a NIfTI file")
    nib.save(nib.Nifti1Image(np.ones((10, 10, 1, 3), np.float32), affine_of((10, 10, 1), MM)), tmp_path / "a.nii.gz")
    refused("has 3 PV maps; there must be 8")
    small = np.zeros((192, 256, 1), np.uint8)
    small[50:60, 50:60] = CSF
    save(tmp_path / "a.nii", small, MM)
    refused("No slice in")
