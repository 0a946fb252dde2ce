"""One experiment from its arms to its scores. Whatever is finished is found again and not repeated."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from arms import Experiment
from numpy.typing import NDArray
from scoring import Score, assemble, measure
from segmenter import Segmenter
from sets import REAL, STORAGE, Recipe, Workshop, case_name, hard_labels, make_set, mark_of, slice_of
from waiting import in_turn

from brainspade_cli.anatomy import LABELS
from brainspade_cli.console import Reporter
from brainspade_cli.files import replacing, write_json
from brainspade_cli.geometry import grid_affine
from brainspade_cli.nnunet.dataset import RawCase
from brainspade_cli.nnunet.export import export
from brainspade_cli.nnunet.planes import NIFTI
from brainspade_cli.nnunet.raw import RawLayout, write_case
from brainspade_cli.nnunet.tasks import Task, load_task
from brainspade_cli.slices import ScanRecord, SliceSet


@dataclass(frozen=True)
class Training:
    """A finished training of an arm. `volumes`: name of a test scan -> its segmentation.

    `seconds`: how long it took, or since when it was last gone on with.
    """

    arm: str
    number: int
    volumes: dict[str, Path]
    seconds: float


def run_study(
    experiment: Experiment,
    arms: Sequence[str],
    trainings: int,
    shop: Workshop,
    segmenter: Segmenter,
    work: Path,
    seed: int,
) -> list[Training]:
    """Make the sets, train the arms, segment the test scans; returns the trainings, arm by arm."""
    test = test_cases(experiment, shop, work / "tests")
    finished = []
    for arm in arms:
        recipes = experiment.arms[arm]
        key = arm_key(experiment.task, recipes)
        name = f"{experiment.name} {arm}"
        with in_turn(work / "raw" / f"{key}.lock", name, shop.reporter):
            raw = task_set(experiment.task, recipes, shop, work / "raw" / key)
        # Trainings of an arm share what was preprocessed for it.
        arm_folder = work / "trainings" / segmenter.key / key
        with in_turn(arm_folder.with_suffix(".lock"), name, shop.reporter):
            for number in range(trainings):
                folder = arm_folder / f"training-{seed + number}"
                seconds = _train(segmenter, raw, folder, seed + number, name, shop.reporter)
                volumes = _segment(segmenter, raw, folder, experiment.test, test, shop.reporter)
                finished.append(Training(arm, number, volumes, seconds))
    return finished


def arm_key(task: str, recipes: Sequence[Recipe]) -> str:
    """Name of an arm's folder: arms of the same sets and task share it, whatever experiments call them."""
    digest = hashlib.sha256(json.dumps([recipe.key for recipe in recipes]).encode()).hexdigest()[:10]
    return f"{task}-{'+'.join(recipe.kind for recipe in recipes)}-{digest}"


def task_set(task: str, recipes: Sequence[Recipe], shop: Workshop, folder: Path) -> Path:
    """Merge an arm's sets into one nnU-Net dataset with the labels of the task, by the project's own export."""
    raw = folder / "nnUNet_raw" / "Dataset501_arm"
    if (raw / "dataset.json").is_file():
        return raw
    sets = [make_set(recipe, shop) for recipe in recipes]
    # Real slices are merged in as such where there is something to merge them into.
    real = sets[-1] if len(sets) > 1 and recipes[-1].kind == REAL else None
    raw.parent.mkdir(parents=True, exist_ok=True)
    export(sets[: len(sets) - (real is not None)], raw.parent, 501, "arm", task, real, reporter=shop.reporter)
    return raw


def test_cases(experiment: Experiment, shop: Workshop, folder: Path) -> list[RawCase]:
    """Every slice of the test scans, written as the training slices are; returned in order, their labels never read."""
    cases = []
    for scan in experiment.test:
        layout = RawLayout(folder / f"{mark_of(scan).replace(':', '-')}-{'-'.join(experiment.channels)}", NIFTI)
        names = [case_name(scan, k) for k in range(scan.slices)]
        channels = range(len(experiment.channels))
        if not all(layout.label_path(name).is_file() for name in names):
            layout.create()
            labels = hard_labels(shop.slices, scan)
            images = [shop.slices.images(scan, modality) for modality in experiment.channels]
            for k, name in enumerate(names):
                stored = np.stack([STORAGE.store(np.asarray(image[k], np.float32)) for image in images])
                write_case(layout, name, stored, labels[k], scan.positions[k])
        cases += [
            RawCase(name, tuple(layout.image_path(name, channel) for channel in channels), layout.label_path(name))
            for name in names
        ]
    return cases


def score_study(experiment: Experiment, trainings: Sequence[Training], slices: SliceSet) -> list[Score]:
    """Score every segmented volume against the labels of its scan."""
    task = load_task(experiment.task)
    scores = []
    for scan in experiment.test:
        truth = truth_of(slices, scan, task)
        counted = truth != task.ignore_value
        for training in trainings:
            volume = read_volume(training.volumes[scan.name])
            for value, label in enumerate(task.groups, start=1):
                numbers = measure(volume, truth, value, counted)
                scores.append(Score(training.arm, training.number, scan.person, scan.name, label, **numbers))
    return scores


def truth_of(slices: SliceSet, scan: ScanRecord, task: Task) -> NDArray[np.uint8]:
    """Labels of a scan in the task's values, (X, Y, slices); what the task ignores has its `ignore_value`."""
    lookup = task.lookup({label.name: label.channel for label in LABELS})
    return np.moveaxis(lookup[hard_labels(slices, scan)], 0, -1)


def read_volume(path: Path) -> NDArray[np.uint8]:
    """A segmented volume, (X, Y, slices)."""
    volume: NDArray[np.uint8] = np.asarray(nib.load(path).dataobj).astype(np.uint8)
    return volume


def _train(segmenter: Segmenter, raw: Path, folder: Path, seed: int, name: str, reporter: Reporter) -> float:
    """Train unless that is done; returns the seconds of the run that finished it."""
    record = folder / "training.json"
    if record.is_file():
        reporter.say(f"{name}, training {seed}: finished before.")
        return float(json.loads(record.read_text(encoding="utf-8"))["seconds"])
    reporter.say(f"{name}, training {seed}: training {segmenter.key} on {raw}.")
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    segmenter.train(raw, folder.parent, folder, seed)
    seconds = round(time.monotonic() - started, 1)
    write_json(record, {"seed": seed, "segmenter": segmenter.key, "data": str(raw), "seconds": seconds})
    return seconds


def _segment(
    segmenter: Segmenter,
    raw: Path,
    folder: Path,
    scans: Sequence[ScanRecord],
    cases: Sequence[RawCase],
    reporter: Reporter,
) -> dict[str, Path]:
    """Segment the scans that are not segmented yet, and write each as a volume."""
    # A T1 and a FLAIR of one scan are different tests.
    targets = {
        scan.name: folder / "segmented-volumes" / cases_of(cases, scan)[0].label.parents[1].name / f"{scan.name}.nii.gz"
        for scan in scans
    }
    missing = [scan for scan in scans if not targets[scan.name].is_file()]
    if not missing:
        return targets
    reporter.say(f"Segmenting {len(missing)} scans.")
    wanted = [case for scan in missing for case in cases_of(cases, scan)]
    planes: dict[str, dict[int, NDArray[np.uint8]]] = {scan.name: {} for scan in missing}
    for name, label in segmenter.predict(raw, folder.parent, folder, wanted):
        scan_name, k = slice_of(name)
        planes[scan_name][k] = label
    for scan in missing:
        affine = grid_affine()
        affine[2, 3] = scan.positions[0]
        path = targets[scan.name]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            nib.save(nib.Nifti1Image(assemble(planes[scan.name], scan.slices), affine), temporary)
    return targets


def cases_of(cases: Sequence[RawCase], scan: ScanRecord) -> list[RawCase]:
    """The slices of one scan."""
    return [case for case in cases if slice_of(case.name)[0] == scan.name]
