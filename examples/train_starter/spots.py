"""How often has CSF bright spots: in FLAIRs of the training patients, and in a dataset that `brainspade sample` made?

    python examples/train_starter/spots.py WORK/slices nnUNet_raw/Dataset501_brainspade [--modality flair]

Prints for each range of heights, of slices without a lesion: how many there are, which share has spots, eight pixels of
CSF or more that lie six robust standard deviations above the brain's median, and how many in a thousand pixels of CSF
lie four above it.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import BACKGROUND, CSF, LABELS, TUMOUR
from brainspade_cli.errors import InputError
from brainspade_cli.nnunet.dataset import read_dataset
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.sampling.csf_spots import PEAK, robust_scale
from brainspade_cli.slices import open_slice_set

# In mm above the origin.
HEIGHTS = ((-60, -40), (-40, -20), (-20, 20), (20, 60))
SPOT_PIXELS, SPOT_SDS = 8, 6.0
LEAST_CSF = 100

Labelled = tuple[float, NDArray[np.generic], NDArray[np.generic]]


def main(slices: Path, dataset: Path, modality: str) -> None:
    """Print a line a range of heights for people and for pairs."""
    for what, found in (("training patients", of_people(slices, modality)), ("pairs", of_pairs(dataset, modality))):
        counts: dict[tuple[int, int], list[tuple[bool, float]]] = {heights: [] for heights in HEIGHTS}
        for height, label, image in found:
            for low, high in HEIGHTS:
                if low <= height < high and (label == CSF).sum() >= LEAST_CSF and not (label >= TUMOUR).any():
                    counts[low, high].append(spots(label, image))
        for (low, high), rows in counts.items():
            shown = "no slices"
            if rows:
                spotted, bright = np.mean(rows, axis=0)
                shown = f"{len(rows)} slices, {spotted:.0%} with spots, {1000 * bright:.1f} in 1,000 pixels of CSF"
            print(f"{what}, {low} to {high} mm: {shown}")


def of_people(slices: Path, modality: str) -> Iterator[Labelled]:
    """Height, label and image of every slice of the training patients who have the modality."""
    found = open_slice_set(slices)
    for scan in found.select(split="train", population="tumour"):
        if modality in scan.modalities and scan.has_labels:
            labels = np.asarray(found.labels(scan)).argmax(axis=1)
            images = np.asarray(found.images(scan, modality), np.float32)
            yield from zip(scan.positions, labels, images, strict=True)


def of_pairs(dataset: Path, modality: str) -> Iterable[Labelled]:
    """The same of a raw dataset's cases."""
    made = read_dataset(dataset)
    if modality not in made.header.channel_names:
        raise InputError(f"{dataset} has no channel {modality}; there are {', '.join(made.header.channel_names)}.")
    if made.header.plain_labels != {one.name: one.channel for one in LABELS}:
        raise InputError(f"{dataset} has other labels than those that `brainspade sample` writes; give its dataset.")
    channel = made.header.channel_names.index(modality)
    for case in made.cases:
        label, height = read_plane(case.label)
        yield height, label, read_plane(case.images[channel])[0]


def spots(label: NDArray[np.generic], image: NDArray[np.generic]) -> tuple[bool, float]:
    """Whether a slice has spots in its CSF, and which share of CSF is bright."""
    centre, spread = robust_scale(np.asarray(image[label != BACKGROUND], np.float64))
    csf = np.asarray(image[label == CSF], np.float64) - centre
    return bool((csf > SPOT_SDS * spread).sum() >= SPOT_PIXELS), float((csf > PEAK * spread).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--modality", default="flair")
    arguments = parser.parse_args()
    main(arguments.slices, arguments.dataset, arguments.modality)
