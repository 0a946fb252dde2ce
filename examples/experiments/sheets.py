"""Pictures of what segmenters made of a few test people: over their scans, and without a pixel of any scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from arms import Experiment
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from study import Training, read_volume, truth_of

from brainspade_cli.anatomy import CSF, GM, LABELS, TUMOUR, WM
from brainspade_cli.files import replacing
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS, SLICE_SHAPE
from brainspade_cli.nnunet.tasks import Task, load_task
from brainspade_cli.pictures import grey_of, upright
from brainspade_cli.slices import BACKGROUND_VALUE, ScanRecord, SliceSet

COLOUR_OF = {"csf": CSF, "gm": GM, "wm": WM, "whole_tumour": TUMOUR}
PEOPLE_SHOWN = 4
CAPTION = 14
MARGIN = 4
INK, PAPER = (225, 225, 225), (24, 24, 24)
BRAIN, MISSED, INVENTED = (70, 70, 70), (255, 150, 0), (255, 60, 200)

Colour = tuple[int, int, int]


def segmentations(experiment: Experiment, trainings: Sequence[Training], slices: SliceSet, path: Path) -> None:
    """Write a PNG: a row for each of a few test people; images, truth, and the first training of each arm."""
    task, shown = load_task(experiment.task), _first(trainings)
    rows = {}
    for scan in _picked(experiment):
        images, truth, found = _planes(experiment, scan, shown, slices, task)
        painted_over = [painted(images[-1], plane, task) for plane in (truth, *found)]
        rows[scan.person] = [*(grey_of(image) for image in images), *painted_over]
    heads = [*experiment.channels, "truth", *(training.arm for training in shown)]
    _write_sheet(path, heads, rows, _colours(task))


def agreement(experiment: Experiment, trainings: Sequence[Training], slices: SliceSet, path: Path) -> None:
    """Write a PNG as `segmentations` does, of labels alone: what is right, what is mistaken, what is not there.

    It holds no pixel of a scan, so that it may be shown where scans may not.
    """
    task, shown = load_task(experiment.task), _first(trainings)
    rows = {}
    for scan in _picked(experiment):
        images, truth, found = _planes(experiment, scan, shown, slices, task)
        brain = images[0] > BACKGROUND_VALUE
        rows[scan.person] = [compared(truth, plane, brain, task) for plane in (truth, *found)]
    legend = {**_colours(task), "missed or mistaken": MISSED, "not there": INVENTED}
    _write_sheet(path, ["truth", *(training.arm for training in shown)], rows, legend)


def painted(image: NDArray[np.float32], label: NDArray[np.uint8], task: Task) -> NDArray[np.uint8]:
    """Labels of a task in colour over a slice (X, Y); one label alone lets the slice shine through."""
    grey = grey_of(image)
    share = 0.5 if len(task.groups) == 1 else 1.0
    for value, colour in enumerate(_colours(task).values(), start=1):
        where = label == value
        grey[where] = (share * np.array(colour) + (1 - share) * grey[where]).astype(np.uint8)
    return grey


def compared(
    truth: NDArray[np.uint8], found: NDArray[np.uint8], brain: NDArray[np.bool_], task: Task
) -> NDArray[np.uint8]:
    """Labels of a task (X, Y) in colour where they are the truth's, in others where they are not, over a plain brain.

    What the truth does not count is left plain.
    """
    picture = np.zeros((*truth.shape, 3), np.uint8)
    picture[brain] = BRAIN
    counted = truth <= len(task.groups)
    for value, colour in enumerate(_colours(task).values(), start=1):
        picture[(truth == value) & (found == value)] = colour
    picture[counted & (truth > 0) & (found != truth)] = MISSED
    picture[(truth == 0) & (found > 0)] = INVENTED
    return picture


def _first(trainings: Sequence[Training]) -> list[Training]:
    return [training for training in trainings if training.number == 0]


def _picked(experiment: Experiment) -> list[ScanRecord]:
    """A few scans spread over the test people."""
    people = list({scan.person: scan for scan in experiment.test}.values())
    return [people[place] for place in sorted({round(x) for x in np.linspace(0, len(people) - 1, PEOPLE_SHOWN)})]


def _planes(
    experiment: Experiment, scan: ScanRecord, shown: Sequence[Training], slices: SliceSet, task: Task
) -> tuple[list[NDArray[np.float32]], NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Images, truth and segmentations (X, Y each) of the slice of a scan that is shown."""
    truth = truth_of(slices, scan, task)
    k = _slice_shown(truth, task)
    images = [np.asarray(slices.images(scan, modality)[k], np.float32) for modality in experiment.channels]
    return images, truth[:, :, k], [read_volume(training.volumes[scan.name])[:, :, k] for training in shown]


def _slice_shown(truth: NDArray[np.uint8], task: Task) -> int:
    """The middle slice of those that show much of the last label of the task."""
    areas = (truth == len(task.groups)).sum(axis=(0, 1))
    large = np.flatnonzero(areas >= max(MIN_TUMOUR_PIXELS, areas.max() / 2))
    return int(large[len(large) // 2]) if len(large) else truth.shape[2] // 2


def _colours(task: Task) -> dict[str, Colour]:
    """The colour of each label of a task, in the order of their values from 1."""
    return {name: LABELS[COLOUR_OF.get(name, value)].colour for value, name in enumerate(task.groups, start=1)}


def _write_sheet(
    path: Path, heads: Sequence[str], rows: dict[str, list[NDArray[np.uint8]]], legend: dict[str, Colour]
) -> None:
    """Write tiles (X, Y, 3) in rows by person, one under each head, with a legend below."""
    width, height = SLICE_SHAPE[0] + MARGIN, SLICE_SHAPE[1] + CAPTION
    sheet = Image.new("RGB", (width * len(heads), height * len(rows) + 2 * CAPTION), PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, (person, tiles) in enumerate(rows.items()):
        for place, tile in enumerate(tiles):
            sheet.paste(Image.fromarray(np.ascontiguousarray(upright(tile))), (place * width, line * height + CAPTION))
            draw.text((place * width, line * height), f"{heads[place]}, {person}"[:32], fill=INK)
    left = float(MARGIN)
    for name, colour in legend.items():
        draw.text((left, height * len(rows) + MARGIN), name, fill=colour)
        left += draw.textlength(f"{name}   ")
    draw.text((left, height * len(rows) + MARGIN), "the patient's left is at the left", fill=INK)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")
