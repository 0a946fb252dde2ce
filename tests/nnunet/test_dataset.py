from __future__ import annotations

import json

import pytest

from brainspade_cli.errors import DatasetError
from brainspade_cli.nnunet.dataset import RawCase, list_cases, read_dataset, read_header
from brainspade_cli.nnunet.raw import NIFTI, PNG
from tests.nnunet.sets import TABLE, change_json, real_set, synthetic_set


@pytest.mark.parametrize("ending", [NIFTI, PNG])
def test_cases_channels_and_labels_are_found(tmp_path, ending):
    dataset = read_dataset(synthetic_set(tmp_path / "set", ["b", "a"], channels=("t1", "flair"), file_ending=ending))
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert [path.name for path in dataset.cases[0].images] == [f"a_0000{ending}", f"a_0001{ending}"]
    assert dataset.cases[0].label.name == f"a{ending}"
    assert dataset.header.channel_names == ("t1", "flair")
    assert dataset.header.plain_labels == TABLE
    assert dataset.header.values == frozenset(range(8))


def test_mapping_lists_files_anywhere(tmp_path, monkeypatch):
    folder = real_set(tmp_path / "set", ["one", "two"])
    other = tmp_path / "other"
    (folder / "imagesTr").rename(other)
    monkeypatch.setenv("ELSEWHERE", str(other))
    mapping = {
        "first": {"images": ["$ELSEWHERE/one_0000.nii.gz"], "label": "labelsTr/one.nii.gz"},
        "second": {"images": [str(other / "two_0000.nii.gz")], "label": str(folder / "labelsTr" / "two.nii.gz")},
    }
    change_json(folder, dataset=mapping)
    cases = read_dataset(folder).cases
    assert [case.name for case in cases] == ["first", "second"]
    assert cases[0].images == (other / "one_0000.nii.gz",)
    assert cases[0].label == folder / "labelsTr" / "one.nii.gz"


def test_listing_equals_nnunets(tmp_path):
    utils = pytest.importorskip("nnunetv2.utilities.utils", reason="nnU-Net is not installed")
    folder = synthetic_set(tmp_path / "set", ["a", "a_0001", "b-c.d"], channels=("t1", "flair"))
    for stray in ("loose.nii.gz", "a_00001.nii.gz", ".hidden_0000.nii.gz", "notes.txt"):
        (folder / "imagesTr" / stray).touch()
    theirs = utils.get_filenames_of_train_images_and_targets(str(folder))
    ours = {case.name: case for case in list_cases(read_header(folder))}
    assert set(ours) == set(theirs)
    for name, case in ours.items():
        assert [str(path) for path in case.images] == theirs[name]["images"]
        assert str(case.label) == theirs[name]["label"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "lacks labels"),
        ({"numTraining": None, "file_ending": None}, "lacks numTraining, file_ending"),
        ({"numTraining": "3"}, "numTraining"),
        ({"numTraining": 4}, "tells of 4 cases, but there are 3"),
        ({"file_ending": "nii.gz"}, "file_ending"),
        ({"channel_names": ["flair"]}, "channel_names"),
        ({"channel_names": {"1": "flair"}}, "numbered"),
        ({"channel_names": {"0": "flair", "1": "t1"}}, "1 images for 2 channels"),
        ({"labels": {"0": "background", "1": "gm"}}, "reversed form"),
        ({"labels": {"gm": 0, "wm": 1}}, "background"),
        ({"labels": {"background": 0, "gm": 2}}, "without a gap"),
        ({"labels": {"background": 0, "gm": "1"}}, "whole number"),
        ({"labels": {"background": 0, "gm": True}}, "whole number"),
        ({"labels": {"background": 0, "gm": []}}, "whole number"),
        ({"labels": {"background": 0, "gm": 1, "ignore": 3}}, "highest value, 2"),
        ({"labels": {"background": 0, "gm": 1, "ignore": [2, 3]}}, "one value"),
        ({"labels": {"background": 0, "all": [1, 2], "core": 2}}, "regions_class_order"),
        ({"dataset": {"a": "b"}}, "must map"),
        ({"dataset": {"a": {"images": ["x.nii.gz"], "label": "y.nii.gz"}}}, "x.nii.gz is missing"),
        ({"dataset": {}}, "no cases"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, changes, said):
    folder = synthetic_set(tmp_path / "set")
    change_json(folder, **changes)
    with pytest.raises(DatasetError, match=said):
        read_dataset(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_damaged_json_is_said(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        read_dataset(tmp_path)


def test_unfinished_dataset_is_no_dataset(tmp_path):
    folder = synthetic_set(tmp_path / "set")
    (folder / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="not finished"):
        read_dataset(folder)


def test_missing_label_is_said(tmp_path):
    folder = synthetic_set(tmp_path / "set")
    (folder / "labelsTr" / "brainspade_000001.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"brainspade_000001\.nii\.gz is missing"):
        read_dataset(folder)


def test_regions_and_ignore_are_values_but_no_plain_labels(tmp_path):
    folder = synthetic_set(tmp_path / "set")
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    change_json(folder, labels=labels, regions_class_order=[1, 2])
    header = read_header(folder)
    assert header.values == {0, 1, 2, 3}
    with pytest.raises(DatasetError, match="regions"):
        _ = header.plain_labels
    assert json.loads((folder / "dataset.json").read_text())["labels"] == labels


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        read_dataset(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no nnU-Net raw dataset"):
        read_dataset(tmp_path / "empty")


def test_a_name_longer_than_any_file_has_is_of_no_file(tmp_path):
    case = RawCase("a", (tmp_path,), tmp_path / ("x" * 5000))
    assert case.missing == (case.images[0], case.label)
