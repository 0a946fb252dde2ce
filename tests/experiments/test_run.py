"""The experiments end to end, on brains made of ellipses; with real nnU-Net among the slow tests."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import run
import sets
import study
from sets import STORAGE, hard_labels, write_style
from study import read_volume

from brainspade_cli.errors import InputError
from brainspade_cli.locks import hold, let_go
from brainspade_cli.nnunet.dataset import read_dataset
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.slices import BACKGROUND_VALUE, open_slice_set
from tests.experiments.conftest import FOLDER


def arguments(slice_folder, tiny_weights, work, experiment, *more):
    fixed = ["--healthy", "rings", "--patients", "lesions", "--device", "cpu", "--pairs", "8", "--trainings", "1"]
    places = ["--slices", str(slice_folder), "--weights", str(tiny_weights), "--work", str(work)]
    return [experiment, *places, *fixed, *more]


@pytest.fixture
def experiments(slice_folder, tiny_weights, tmp_path, capsys):
    """Run experiments with the U-Net: returns what went to stdout and to stderr."""

    def start(experiment, *more):
        texts = arguments(slice_folder, tiny_weights, tmp_path, experiment, "--segmenter", "unet", *more)
        run.main(run._parser().parse_args(texts))
        return capsys.readouterr()

    return start


def test_real_slices_teach_tissues_and_finished_trainings_are_not_repeated(experiments, tmp_path):
    said = experiments("3.1", "--arms", "R", "--steps", "40", "--stride", "1")
    (folder,) = (tmp_path / "results").iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert found["summary"]["R"]["wm"]["dice"]["mean"] > 0.6
    assert found["test"] == ["sub-healthy3"]
    assert len(found["scores"]) == 3
    assert (folder / "segmentations.png").stat().st_size > 1000
    assert (folder / "agreement.png").stat().st_size > 1000
    table = (folder / "table.md").read_text()
    assert table in said.out
    assert f"{found['summary']['R']['wm']['dice']['mean']:.3f}" in table
    volume = next((tmp_path / "trainings").rglob("sub-healthy3.nii.gz"))
    assert nib.load(volume).shape == (192, 256, 6)
    assert set(np.unique(read_volume(volume))) <= {0, 1, 2, 3}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = experiments("3.1", "--arms", "R", "--steps", "40", "--stride", "1")
    assert again.err.count("finished before") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before
    assert json.loads((folder / "results.json").read_text()) == found


def test_results_of_other_choices_lie_apart(experiments, tmp_path):
    experiments("3.1", "--arms", "R", "--steps", "2")
    experiments("3.1", "--arms", "R", "--steps", "2", "--people", "1")
    experiments("3.1", "--arms", "R", "--steps", "2", "--people", "1", "--seed", "3")
    other, few, usual = sorted((tmp_path / "results").iterdir(), key=lambda folder: len(folder.name), reverse=True)
    assert few.name == f"{usual.name}-people-1"
    assert other.name == f"{usual.name}-seed-3-people-1"
    assert "of the 1 training people" in (few / "table.md").read_text()
    settings = json.loads((few / "results.json").read_text())["settings"]
    assert settings["people"] == 1
    assert (settings["healthy"], settings["patients"]) == ("rings", "lesions")
    assert "-healthy-rings-patients-lesions-" in usual.name


def test_people_whom_the_weights_learnt_from_are_refused_by_either_name(slice_folder):
    tested = open_slice_set(slice_folder).person_names("held-out")
    for name in ("sub-healthy3", "rings/sub-healthy3"):
        with pytest.raises(InputError, match=f"trained on {name}, who are held out"):
            run._refuse_seen_people((name,), tested)
    run._refuse_seen_people(("sub-healthy0",), tested)


def test_scans_that_name_no_case_are_refused(slice_folder):
    slices = open_slice_set(slice_folder)
    odd = replace(slices, scans=(replace(slices.scans[0], name="-MS-study-sub-1"),))
    with pytest.raises(InputError, match="a scan called -MS-study-sub-1"):
        run._refuse_odd_names(odd, ("rings",))
    run._refuse_odd_names(odd, ("lesions",))


def test_one_person_gives_the_style(experiments, tmp_path):
    experiments("3.1", "--arms", "S", "--steps", "2", "--style-people", "1")
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.endswith("-style-people-1")
    assert json.loads((folder / "results.json").read_text())["settings"]["style_people"] == 1
    (drawn,) = (tmp_path / "sets").glob("synthetic-t1-*/Dataset501_set")
    assert len(json.loads((drawn / "brainspade" / "run.json").read_text())["settings"]["styles"]) == 1


@pytest.mark.parametrize("option", ["--people", "--style-people", "--pairs", "--stride", "--steps", "--trainings"])
def test_there_is_no_such_thing_as_none_of_them(experiments, capsys, option):
    with pytest.raises(SystemExit) as ended:
        experiments("3.1", option, "0")
    assert ended.value.code == 2
    assert "'0' is no whole number from 1 on" in capsys.readouterr().err


def busy_for_a_moment(folder):
    """Hold a folder's lock for half a second, as another run would; returns the lock."""
    lock = folder.with_name(f"{folder.name}.lock")
    threading.Timer(0.5, let_go, (lock, hold(lock))).start()
    return lock


WAITING = "3.1 R: another run is at work on it; waiting until it is through."


@pytest.mark.parametrize("what", ["raw/*", "trainings/*/*"])
def test_an_arm_that_another_run_makes_or_trains_is_waited_for(experiments, tmp_path, what):
    experiments("3.1", "--arms", "R", "--steps", "2")
    (arm,) = tmp_path.glob(what)
    lock = busy_for_a_moment(arm)
    said = experiments("3.1", "--arms", "R", "--steps", "2").err
    assert WAITING in said
    assert said.count("finished before") == 1
    assert not lock.exists()


def test_what_is_trained_holds_up_no_other_trainings_of_the_same_set(experiments, tmp_path, monkeypatch):
    locks = []
    train = study._train

    def watched(*arguments):
        locks.append(sorted(tmp_path.rglob("*.lock")))
        return train(*arguments)

    monkeypatch.setattr(study, "_train", watched)
    experiments("3.1", "--arms", "R", "--steps", "2")
    ((lock,),) = locks
    assert lock.parent.parent == tmp_path / "trainings"


def test_a_set_that_another_run_makes_is_waited_for(experiments, tmp_path):
    experiments("3.1", "--arms", "S", "--steps", "2")
    (folder,) = (tmp_path / "sets").iterdir()
    busy_for_a_moment(folder)
    # H needs S's pairs as well, and its own arm.
    said = experiments("3.1", "--arms", "H", "--steps", "2").err
    assert f"{folder.name}: another run is at work on it; waiting until it is through." in said


def test_tumours_are_learnt_from_two_channels_of_synthetic_and_real_pairs(experiments, tmp_path):
    experiments("3.3", "--arms", "H", "--steps", "2")
    (raw,) = (tmp_path / "raw").glob("*/nnUNet_raw/Dataset501_arm")
    dataset = read_dataset(raw)
    assert dataset.header.channel_names == ("t1", "flair")
    assert dataset.header.labels == {"background": 0, "whole_tumour": 1}
    # Eight made, and the six slices of each of three patients.
    assert len(dataset.cases) == 8 + 3 * 6
    (folder,) = (tmp_path / "results").iterdir()
    assert {row["label"] for row in json.loads((folder / "results.json").read_text())["scores"]} == {"whole_tumour"}
    assert "recall whole_tumour" in (folder / "table.md").read_text()


def test_eighty_steps_of_ddim_draw_what_the_default_is_held_against(experiments, tmp_path, monkeypatch):
    assert sets.DDIM_STEPS == 80
    monkeypatch.setattr(sets, "DDIM_STEPS", 8)
    experiments("3.3", "--arms", "S-80", "--steps", "2")
    (drawn,) = (tmp_path / "sets").glob("synthetic-ddim80-*/Dataset501_set")
    settings = json.loads((drawn / "brainspade" / "run.json").read_text())["settings"]
    assert (settings["sampler"], settings["steps"], settings["tumour"]) == ("ddim", 8, True)


def test_labels_of_scans_are_painted_and_lesions_ignored(experiments, slice_folder, tmp_path):
    experiments("3.2", "--arms", "R(target),RL-painted", "--steps", "2")
    headers = [read_dataset(raw).header for raw in (tmp_path / "raw").glob("*/nnUNet_raw/Dataset501_arm")]
    assert {tuple(header.labels) for header in headers} == {
        ("background", "csf", "gm", "wm", "ignore"),
        ("background", "csf", "gm", "wm"),
    }
    (painted,) = (tmp_path / "sets").glob("painted-flair-*/Dataset501_set")
    cases = read_dataset(painted).cases
    assert len(cases) == 8
    # Eighteen slices for eight pairs: every third, from the second on.
    slices = open_slice_set(slice_folder)
    labels = [hard_labels(slices, scan)[k] for scan in slices.select(population="healthy") for k in (1, 4)]
    for case, label in zip(cases, [*labels, *labels], strict=False):
        assert np.array_equal(read_plane(case.label)[0], label)


def test_stored_slices_give_their_z_scores_back(slice_folder, tmp_path):
    slices = open_slice_set(slice_folder)
    scan = slices.select(population="tumour")[0]
    path = write_style(slices, scan, "flair", tmp_path)
    assert path.name.startswith("sub-subtumour4")
    stored = np.moveaxis(np.asarray(nib.load(path).dataobj), -1, 0)
    images = np.asarray(slices.images(scan, "flair"), np.float32)
    brain = images != BACKGROUND_VALUE
    assert ((stored > 0) == brain).all()
    assert np.allclose(STORAGE.z_scores(stored.astype(np.int16))[brain], images[brain], atol=0.006)


def test_no_two_scans_are_one_style(slice_folder, tmp_path):
    slices = open_slice_set(slice_folder)
    (tmp_path / "scans").mkdir()
    scans = [replace(slices.select(population="tumour")[0], name=name) for name in ("a-1-11", "a-11-1")]
    for scan in scans:
        shutil.copytree(slice_folder / "scans" / "sub-tumour4", tmp_path / "scans" / scan.name)
    copied = replace(slices, folder=tmp_path)
    assert len({write_style(copied, scan, "flair", tmp_path) for scan in scans}) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--arms", "R,X"), "no arm X"),
        (("--healthy", "nobody"), "nobody"),
        (("--segmenter", "nnunet", "--steps", "70"), "multiple"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_made(experiments, tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        experiments("3.1", *more)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_nnunet_runs_the_experiment_for_real(slice_folder, tiny_weights, tmp_path):
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
    texts = arguments(slice_folder, tiny_weights, tmp_path, "3.1", "--arms", "R,S", "--steps", "50")
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(FOLDER.parents[1])}
    command = [sys.executable, str(FOLDER / "run.py"), *texts]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    (folder,) = (tmp_path / "results").iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert found["summary"]["R"]["wm"]["dice"]["mean"] > 0.5
    # Both arms were trained by one plan, cut down.
    (shared,) = (tmp_path / "plans").iterdir()
    configuration = json.loads(shared.read_text())["configurations"]["2d"]
    assert configuration["batch_size"] == 8
    assert configuration["patch_size"] == [128, 128]
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert again.stderr.count("finished before") == 2
