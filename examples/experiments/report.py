"""What an experiment found, for people and for programs: a table, the numbers, and a picture of segmentations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from arms import Experiment
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scoring import METRICS, Score, paired_p, summarise, table_of
from study import Training, read_volume, truth_of

from brainspade_cli.anatomy import CSF, GM, LABELS, TUMOUR, WM
from brainspade_cli.files import replacing
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS, SLICE_SHAPE
from brainspade_cli.nnunet.tasks import Task, load_task
from brainspade_cli.pictures import grey_of, upright
from brainspade_cli.slices import ScanRecord, SliceSet

COLOUR_OF = {"csf": CSF, "gm": GM, "wm": WM, "whole_tumour": TUMOUR}
PEOPLE_SHOWN = 4
CAPTION = 14
MARGIN = 4
INK, PAPER = (225, 225, 225), (24, 24, 24)


def results(
    experiment: Experiment, scores: Sequence[Score], trainings: Sequence[Training], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that was measured, as JSON data; what there is too little of to compute is null."""
    arms = list(dict.fromkeys(training.arm for training in trainings))
    labels = list(load_task(experiment.task).groups)
    tables = {metric: table_of(scores, metric) for metric in METRICS}
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "task": experiment.task,
        "reference": experiment.reference,
        "settings": dict(settings),
        "test": sorted({scan.person for scan in experiment.test}),
        "arms": {arm: experiment.meaning[arm] for arm in arms},
        "seconds": {arm: [round(training.seconds) for training in trainings if training.arm == arm] for arm in arms},
        "summary": {
            arm: {
                label: {metric: _plain(asdict(summarise(tables[metric][arm, label]))) for metric in METRICS}
                for label in labels
            }
            for arm in arms
        },
        "p": {
            f"{first} - {second}": {
                label: {
                    metric: _number(paired_p(tables[metric][first, label], tables[metric][second, label]))
                    for metric in METRICS
                }
                for label in labels
            }
            for place, first in enumerate(arms)
            for second in arms[place + 1 :]
        },
        "scores": [_plain(asdict(row)) for row in scores],
    }


def table(found: Mapping[str, Any]) -> str:
    """The numbers of `results` as Markdown."""
    labels = list(next(iter(found["summary"].values())))
    metrics = METRICS if found["task"] == "tumour" else METRICS[:1]
    columns = [(label, metric) for label in labels for metric in metrics]
    reference = found["reference"] if found["reference"] in found["arms"] else None
    heads = [f"{metric} {label}" for label, metric in columns]
    heads += [f"{label} / {reference}" for label in labels] if reference else []
    heads += [f"p {metric} {label}" for label, metric in columns] if reference else []
    lines = [f"### {found['experiment']} {found['title']}", ""]
    lines += [_row(["arm", *heads]), _row(["---"] * (1 + len(heads)))]
    for arm, summary in found["summary"].items():
        cells = [arm, *(_shown(summary[label][metric]) for label, metric in columns)]
        if reference:
            base = found["summary"][reference]
            cells += [_ratio(summary[label]["dice"]["mean"], base[label]["dice"]["mean"]) for label in labels]
            cells += [_p(found["p"], arm, reference, label, metric) for label, metric in columns]
        lines.append(_row(cells))
    lines += ["", *(f"- {arm}: {meaning}." for arm, meaning in found["arms"].items())]
    return "\n".join([*lines, "", _legend(found, reference), ""])


def picture(experiment: Experiment, trainings: Sequence[Training], slices: SliceSet, path: Path) -> None:
    """Write a PNG: a row for each of a few test people; images, truth, and the first training of each arm."""
    task = load_task(experiment.task)
    shown = [training for training in trainings if training.number == 0]
    people = list({scan.person: scan for scan in experiment.test}.values())
    picked = [people[place] for place in sorted({round(x) for x in np.linspace(0, len(people) - 1, PEOPLE_SHOWN)})]
    rows = [_tiles(experiment, scan, shown, slices, task) for scan in picked]
    heads = [*experiment.channels, "truth", *(training.arm for training in shown)]
    width, height = SLICE_SHAPE[0] + MARGIN, SLICE_SHAPE[1] + CAPTION
    sheet = Image.new("RGB", (width * len(heads), height * len(rows) + 2 * CAPTION), PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, (scan, tiles) in enumerate(zip(picked, rows, strict=True)):
        for place, tile in enumerate(tiles):
            sheet.paste(Image.fromarray(np.ascontiguousarray(upright(tile))), (place * width, line * height + CAPTION))
            draw.text((place * width, line * height), f"{heads[place]}, {scan.person}"[:32], fill=INK)
    left = float(MARGIN)
    for value, name in enumerate(task.groups, start=1):
        draw.text((left, height * len(rows) + MARGIN), name, fill=_colour(value, name))
        left += draw.textlength(f"{name}   ")
    draw.text((left, height * len(rows) + MARGIN), "the patient's left is at the left", fill=INK)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _tiles(
    experiment: Experiment, scan: ScanRecord, shown: Sequence[Training], slices: SliceSet, task: Task
) -> list[NDArray[np.uint8]]:
    truth = truth_of(slices, scan, task)
    k = _slice_shown(truth, task)
    images = [np.asarray(slices.images(scan, modality)[k], np.float32) for modality in experiment.channels]
    planes = [truth[:, :, k], *(read_volume(training.volumes[scan.name])[:, :, k] for training in shown)]
    return [grey_of(image) for image in images] + [painted(images[-1], plane, task) for plane in planes]


def painted(image: NDArray[np.float32], label: NDArray[np.uint8], task: Task) -> NDArray[np.uint8]:
    """Labels of a task in colour over a slice (X, Y); one label alone lets the slice shine through."""
    grey = grey_of(image)
    share = 0.5 if len(task.groups) == 1 else 1.0
    for value, name in enumerate(task.groups, start=1):
        where = label == value
        grey[where] = (share * np.array(_colour(value, name)) + (1 - share) * grey[where]).astype(np.uint8)
    return grey


def _colour(value: int, name: str) -> tuple[int, int, int]:
    return LABELS[COLOUR_OF.get(name, value)].colour


def _slice_shown(truth: NDArray[np.uint8], task: Task) -> int:
    """The middle slice of those that show much of the last label of the task."""
    areas = (truth == len(task.groups)).sum(axis=(0, 1))
    large = np.flatnonzero(areas >= max(MIN_TUMOUR_PIXELS, areas.max() / 2))
    return int(large[len(large) // 2]) if len(large) else truth.shape[2] // 2


def _legend(found: Mapping[str, Any], reference: str | None) -> str:
    first = next(iter(next(iter(found["summary"].values())).values()))["dice"]
    text = (
        f"Volumes of {first['people']} people in no training, {first['trainings']} training(s) an arm: mean ± SD over"
        " people (SD over trainings)."
    )
    if reference:
        text += f" Ratios are of mean Dice to {reference}; p is two-sided, paired over people, against {reference}."
    if found["task"] == "tissues":
        text += " GM takes in deep GM, WM the brainstem; voxels of tumour and oedema are not scored."
    return text


def _p(tests: Mapping[str, Any], arm: str, reference: str, label: str, metric: str) -> str:
    tested = tests.get(f"{reference} - {arm}") or tests.get(f"{arm} - {reference}")
    value = tested[label][metric] if tested else None
    return "" if value is None else f"{value:.2g}"


def _shown(summary: Mapping[str, Any]) -> str:
    text = f"{summary['mean']:.3f}"
    text += "" if summary["over_people"] is None else f" ± {summary['over_people']:.3f}"
    return text + ("" if summary["over_trainings"] is None else f" ({summary['over_trainings']:.3f})")


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.3f}" if base else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in data.items()}
