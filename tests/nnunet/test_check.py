from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainspade_cli.errors import CheckFailed
from brainspade_cli.nnunet import check as module
from brainspade_cli.nnunet.check import check, require_sound
from brainspade_cli.nnunet.check_case import CaseFacts
from brainspade_cli.nnunet.planning import planned_axis, planning_problems
from brainspade_cli.nnunet.raw import NIFTI, PNG
from tests.nnunet.sets import LPS, change_json, real_set, synthetic_set

CASE = "brainspade_000001"


def rewrite(path, *, change=lambda values: values, affine=None, dtype=None, qform=True):
    """Write a NIfTI anew with its values, affine or number type changed."""
    image = nib.load(path)
    values = change(np.asarray(image.dataobj))
    new = nib.Nifti1Image(values if dtype is None else values.astype(dtype), image.affine if affine is None else affine)
    if not qform:
        new.set_qform(None, code=0)
        new.set_sform(image.affine if affine is None else affine, code=1)
    nib.save(new, path)


def image_of(folder, channel=0, case=CASE):
    return folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz"


def label_of(folder, case=CASE):
    return folder / "labelsTr" / f"{case}.nii.gz"


def every(folder):
    return [*(folder / "imagesTr").iterdir(), *(folder / "labelsTr").iterdir()]


def put_nan(values):
    values = values.astype(np.float32)
    values[50, 60] = np.nan
    return values


def colour(path):
    with Image.open(path) as picture:
        picture.convert("RGB").save(path)


def palette(path):
    with Image.open(path) as picture:
        picture.convert("P").save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


SHEAR = np.eye(4)
SHEAR[0, 1] = 0.1
THIN = np.diag([1.0, 1.0, 0.8, 1.0])

# name: (what is done to a sound set of three cases in two channels, what we say, whether nnU-Net refuses it too)
BROKEN_NIFTI = {
    "no dataset.json": (lambda f: (f / "dataset.json").unlink(), "no dataset.json", True),
    "no label folder": (lambda f: (f / "labelsTr").rename(f / "labels"), "is missing", True),
    "no image folder": (lambda f: (f / "imagesTr").rename(f / "images"), "holds no cases", True),
    "lacking key": (lambda f: change_json(f, labels=None), "lacks labels", True),
    "wrong count": (lambda f: change_json(f, numTraining=4), "tells of 4 cases", True),
    "labels with a gap": (lambda f: change_json(f, labels={"background": 0, "gm": 2}), "without a gap", True),
    "reversed labels": (lambda f: change_json(f, labels={"0": "background", "1": "gm"}), "reversed form", True),
    "low ignore": (lambda f: change_json(f, labels={"background": 0, "gm": 1, "ignore": 1}), "highest value", True),
    "undeclared value": (lambda f: change_json(f, labels={"background": 0, "gm": 1}), "which dataset.json does", True),
    "one undeclared value": (
        lambda f: rewrite(label_of(f), change=lambda v: v + np.uint8(9) * (v == 6)),
        "holds 15",
        True,
    ),
    "labels for viewing": (lambda f: rewrite(label_of(f), change=lambda v: v * np.uint8(30)), "not declare", True),
    "broken label value": (lambda f: rewrite(label_of(f), change=lambda v: v * np.float32(0.5)), "0.5", True),
    "missing label": (lambda f: label_of(f).unlink(), "is missing", True),
    "missing channel": (lambda f: image_of(f, 1).unlink(), "has 1 channels", True),
    "third channel": (lambda f: image_of(f, 2).write_bytes(image_of(f).read_bytes()), "has 3 channels", True),
    "unnumbered image": (lambda f: image_of(f).rename(f / "imagesTr" / "loose.nii.gz"), "channels where", True),
    # SimpleITK fills what is missing, without a word.
    "cut file": (lambda f: cut(image_of(f)), "cannot be read", False),
    "empty file": (lambda f: label_of(f).write_bytes(b""), "cannot be read", True),
    "other shape": (lambda f: rewrite(label_of(f), change=lambda v: v[:-1]), "differ in shape", True),
    "transposed label": (lambda f: rewrite(label_of(f), change=lambda v: v.swapaxes(0, 1)), "differ in shape", True),
    "other spacing": (lambda f: rewrite(label_of(f), affine=np.diag([1.01, 1, 1, 1])), "differ in spacing", True),
    "channels differ": (lambda f: rewrite(image_of(f, 1), change=lambda v: v[:-1]), "its channels differ", True),
    "channels apart": (lambda f: rewrite(image_of(f, 1), affine=np.diag([1, 2, 1, 1])), "differ in spacing", True),
    "shear": (lambda f: rewrite(image_of(f), affine=SHEAR, qform=False), "sheared", True),
    "NaN label": (lambda f: rewrite(label_of(f), change=put_nan), "its label holds nan", None),
    "NaN pixel": (lambda f: rewrite(image_of(f), change=put_nan), "not numbers", None),
    "both channels in one": (
        lambda f: rewrite(image_of(f), change=lambda v: np.stack([v, v], axis=-1)),
        "4 dimensions",
        True,
    ),
    "misnumbered channel": (lambda f: image_of(f, 1).rename(image_of(f, 3)), "stands where", False),
    "constant image": (lambda f: rewrite(image_of(f), change=np.zeros_like), "same value in every pixel", False),
    "background only": (
        lambda f: [rewrite(path, change=np.zeros_like) for path in (f / "labelsTr").iterdir()],
        "anything but background",
        False,
    ),
    "label without image": (
        lambda f: (f / "labelsTr" / "x.nii.gz").write_bytes(label_of(f).read_bytes()),
        "labelsTr/x.nii.gz has no images",
        False,
    ),
    "thin singleton": (lambda f: [rewrite(path, affine=THIN) for path in every(f)], "every case into lines", False),
    "one case on another axis": (
        lambda f: [
            rewrite(path, change=lambda v: v.transpose(2, 0, 1)) for path in (image_of(f), image_of(f, 1), label_of(f))
        ],
        "cut into lines",
        False,
    ),
    "splits of strangers": (
        lambda f: (f / "splits_final.json").write_text('[{"train": ["x"], "val": ["brainspade_000001"]}]'),
        "names x, which is no case",
        False,
    ),
    "splits that overlap": (
        lambda f: (f / "splits_final.json").write_text(json.dumps([{"train": [CASE], "val": [CASE]}])),
        "trains and validates",
        False,
    ),
    "empty fold": (
        lambda f: (f / "splits_final.json").write_text(json.dumps([{"train": [CASE], "val": []}])),
        "nothing to train or to validate",
        False,
    ),
}
BROKEN_PNG = {
    "colour image": (lambda f: colour(f / "imagesTr" / f"{CASE}_0000.png"), "has 4 channels", True),
    "colour label": (lambda f: colour(f / "labelsTr" / f"{CASE}.png"), "colour picture", False),
    "palette label": (lambda f: palette(f / "labelsTr" / f"{CASE}.png"), "colour picture", None),
    "cut picture": (lambda f: cut(f / "imagesTr" / f"{CASE}_0000.png"), "cannot be read", None),
    "no picture": (lambda f: (f / "labelsTr" / f"{CASE}.png").write_bytes(b"no picture"), "cannot be read", True),
    "other size": (
        lambda f: Image.new("L", (20, 30)).save(f / "labelsTr" / f"{CASE}.png"),
        "differ in shape",
        True,
    ),
}


@pytest.mark.parametrize("ending", [NIFTI, PNG])
@pytest.mark.parametrize("channels", [("flair",), ("t1", "flair")])
def test_what_sample_writes_is_sound_to_us_and_to_nnunet(tmp_path, reporter, nnunet_verdict, ending, channels):
    folder = synthetic_set(tmp_path / "set", channels=channels, file_ending=ending)
    assert check(folder, reporter) == []
    assert nnunet_verdict(folder) is None


@pytest.mark.parametrize("name", BROKEN_NIFTI)
def test_broken_nifti_set_is_found(tmp_path, reporter, name):
    spoil, said, _ = BROKEN_NIFTI[name]
    folder = synthetic_set(tmp_path / "set", channels=("t1", "flair"))
    spoil(folder)
    assert said in "\n".join(map(str, check(folder, reporter)))


@pytest.mark.parametrize("name", BROKEN_PNG)
def test_broken_png_set_is_found(tmp_path, reporter, name):
    spoil, said, _ = BROKEN_PNG[name]
    folder = synthetic_set(tmp_path / "set", channels=("t1", "flair"), file_ending=PNG)
    spoil(folder)
    assert said in "\n".join(map(str, check(folder, reporter)))


@pytest.mark.parametrize(("ending", "name"), [(NIFTI, n) for n in BROKEN_NIFTI] + [(PNG, n) for n in BROKEN_PNG])
def test_we_find_all_that_nnunet_finds_and_more(tmp_path, reporter, nnunet_verdict, ending, name):
    """The third entry of each row says whether nnU-Net refuses it; None: that depends on its reader's version."""
    spoil, _, refused = (BROKEN_NIFTI if ending == NIFTI else BROKEN_PNG)[name]
    folder = synthetic_set(tmp_path / "set", channels=("t1", "flair"), file_ending=ending)
    spoil(folder)
    theirs = nnunet_verdict(folder)
    assert check(folder, reporter)
    assert refused is None or bool(theirs) == refused, theirs


def test_volumes_regions_and_mappings_are_sound(tmp_path, reporter, nnunet_verdict):
    folder = real_set(tmp_path / "set", ["one", "two"])
    change_json(
        folder,
        labels={"background": 0, "brain": [1, 2, 3, 4, 5, 6, 7], "lesion": [6, 7], "core": 6},
        regions_class_order=[1, 2, 3],
        dataset={
            name: {"images": [f"imagesTr/{name}_0000.nii.gz"], "label": f"labelsTr/{name}.nii.gz"}
            for name in ("one", "two")
        },
    )
    assert check(folder, reporter) == []
    assert nnunet_verdict(folder) is None


def test_colour_pictures_are_sound_where_they_are_declared(tmp_path, reporter, nnunet_verdict):
    folder = synthetic_set(tmp_path / "set", file_ending=PNG)
    for path in (folder / "imagesTr").iterdir():
        colour(path)
    change_json(folder, channel_names={"0": "red", "1": "green", "2": "blue"})
    assert check(folder, reporter) == []
    assert nnunet_verdict(folder) is None


def test_flat_nifti_and_closing_singletons_are_read_as_simpleitk_does(tmp_path, reporter, nnunet_verdict):
    folder = synthetic_set(tmp_path / "set")
    for path in every(folder):
        flat = "_000000" in path.name
        rewrite(path, change=(lambda values: values[:, :, 0]) if flat else (lambda values: values[..., None]))
    assert check(folder, reporter) == []
    assert nnunet_verdict(folder) is None


def test_unused_labels_are_mentioned_not_condemned(tmp_path, reporter):
    folder = synthetic_set(tmp_path / "set", tumours=False)
    assert check(folder, reporter) == []
    assert any("6, 7" in line for line in reporter.said)


def test_scans_lying_otherwise_are_warned_of(tmp_path, reporter):
    folder = real_set(tmp_path / "set", ["one", "two"])
    sagittal = np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for path in every(folder):
        if path.name.startswith("one"):
            rewrite(path, affine=sagittal)
    assert check(folder, reporter) == []
    assert "1 along left-right axis" in reporter.warned[0]
    assert "1 along up-down axis" in reporter.warned[0]


def test_flipped_scans_lie_in_the_same_plane(tmp_path, reporter):
    folder = real_set(tmp_path / "set", ["one", "two"])
    for path in every(folder):
        if path.name.startswith("one"):
            rewrite(path, affine=-LPS @ np.diag([1, 1, -1, 1]))
    check(folder, reporter)
    assert not reporter.warned


@pytest.mark.parametrize(
    ("spacings", "shapes", "axis"),
    [
        ([(1, 1, 1)], [(1, 256, 192)], 0),
        ([(999, 1, 1)], [(1, 256, 192)], 0),
        ([(1, 0.8, 1)], [(192, 1, 256)], 0),
        ([(0.8, 1, 1)], [(1, 256, 192)], 1),
        ([(0.9, 0.9, 1.2)], [(200, 200, 150)], 2),
        ([(5, 1, 1), (1, 1, 1), (1, 1, 1)], [(20, 256, 192), (1, 256, 192), (1, 256, 192)], 0),
        # The coarse axis is judged by its finest scans, and then is coarse no more.
        ([(1, 1, 5), (1, 1, 5), (1, 1, 1)], [(256, 192, 20)] * 3, 2),
    ],
)
def test_planned_axis_is_nnunets(spacings, shapes, axis):
    facts = {
        str(number): CaseFacts((), shape, spacing)
        for number, (spacing, shape) in enumerate(zip(spacings, shapes, strict=True))
    }
    assert planned_axis(facts) == axis
    planner = pytest.importorskip("nnunetv2.experiment_planning.experiment_planners.default_experiment_planner")
    stand_in = SimpleNamespace(
        suppress_transpose=False,
        overwrite_target_spacing=None,
        dataset_fingerprint={"spacings": spacings, "shapes_after_crop": shapes},
        anisotropy_threshold=planner.ANISO_THRESHOLD,
    )
    stand_in.determine_fullres_target_spacing = lambda: planner.ExperimentPlanner.determine_fullres_target_spacing(
        stand_in
    )
    assert planner.ExperimentPlanner.determine_transpose(stand_in)[0][0] == axis


def test_no_readable_case_no_plan(reporter):
    assert planning_problems({}, reporter) == []


def test_other_endings_are_not_vouched_for(tmp_path, reporter):
    folder = synthetic_set(tmp_path / "set")
    change_json(folder, file_ending=".nrrd")
    assert "only .nii.gz and .png" in str(check(folder, reporter)[0])


def test_require_sound_counts_and_lists(tmp_path, reporter):
    folder = synthetic_set(tmp_path / "set", [f"c{number:02d}" for number in range(25)])
    require_sound(folder, reporter)
    assert reporter.said[-1].endswith("is sound.")
    for path in (folder / "labelsTr").iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckFailed, match="25 problems"):
        require_sound(folder, reporter)
    assert len(reporter.warned) == 20


@pytest.mark.slow
def test_nnunet_itself_has_the_last_word(tmp_path, reporter, nnunet_process, monkeypatch):
    """In a process of its own, on a set in which we are made to see nothing."""
    folder = synthetic_set(tmp_path / "set")
    rewrite(label_of(folder), change=lambda values: values + np.uint8(9))
    monkeypatch.setattr(module, "_contents", lambda *_: [])
    problems = check(folder, reporter)
    assert len(problems) == 1
    assert "nnU-Net refuses" in problems[0].text
    assert "unexpected labels" in problems[0].text


def test_nnunet_that_does_not_start_is_not_the_datasets_fault(tmp_path, reporter, monkeypatch):
    folder = synthetic_set(tmp_path / "set")
    monkeypatch.setattr(module, "nnunet_installed", lambda: True)
    broken = subprocess.CompletedProcess([], 1, stdout="", stderr="ImportError: no torchvision")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: broken)
    assert check(folder, reporter) == []
    assert "could not start" in reporter.warned[0]
    assert "no torchvision" in reporter.warned[0]
