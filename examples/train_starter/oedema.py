"""How bright are oedemas over white matter: in the training patients, and in a dataset that `brainspade sample` made?

    python examples/train_starter/oedema.py WORK/slices nnUNet_raw/Dataset501_brainspade

Prints mean, SD and extremes of the difference of means (oedema less white matter), in standard deviations of the brain:
over patients, each the mean of the slices with an oedema, and over pairs with one.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import OEDEMA, WM
from brainspade_cli.evaluating.image_statistics import standardise
from brainspade_cli.nnunet.dataset import RawCase, read_dataset
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.slices import open_slice_set

# Smaller parts have no mean to speak of.
LEAST_PIXELS = 100
# Every other slice of a scan is nearly the one before.
STRIDE = 2


def main(slices: Path, dataset: Path) -> None:
    """Print a line a modality for people and for pairs."""
    people: dict[str, list[float]] = {}
    found = open_slice_set(slices)
    for scan in found.select(split="train", population="tumour"):
        if not scan.has_labels:
            continue
        labels = np.asarray(found.labels(scan)[::STRIDE]).argmax(axis=1)
        for modality in scan.modalities:
            images = np.asarray(found.images(scan, modality)[::STRIDE], np.float32)
            differences = _differences(zip(labels, images, strict=True))
            if differences:
                people.setdefault(modality, []).append(float(np.mean(differences)))
    for modality, values in people.items():
        print(_line(f"{modality}, {len(values)} training patients", values))
    made = read_dataset(dataset)
    for place, channel in enumerate(made.header.channel_names):
        values = _differences(_pair(case, place) for case in made.cases)
        print(_line(f"{channel}, {len(values)} pairs", values))


def _pair(case: RawCase, channel: int) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    """A label and an image of it, z-scored over the brain."""
    return read_plane(case.label)[0], standardise(read_plane(case.images[channel])[0])[0]


def _differences(pairs: Iterable[tuple[NDArray[np.generic], NDArray[np.float32]]]) -> list[float]:
    """Oedema less white matter in each slice that has enough of both."""
    parts = ((image, label == OEDEMA, label == WM) for label, image in pairs)
    return [
        float(image[oedema].mean() - image[white].mean())
        for image, oedema, white in parts
        if min(oedema.sum(), white.sum()) >= LEAST_PIXELS
    ]


def _line(what: str, values: Sequence[float]) -> str:
    return f"{what}: {np.mean(values):.2f} ± {np.std(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("dataset", type=Path)
    arguments = parser.parse_args()
    main(arguments.slices, arguments.dataset)
