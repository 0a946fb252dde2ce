"""How sharp are borders of lesions: in scans of training patients, and in their labels painted in their own style?

    python examples/train_starter/borders.py WORK/slices WEIGHTS

Prints how much of the difference between oedema and white matter (five and a half pixels inside the border, and as far
outside) is left at pixels from three and a half inside to one and a half outside: in scans, in labels painted with
borders as they are, and with the soft ones that `brainspade sample` paints. Then how far the painted images are from
the scans in the brain within four pixels of a border, in standard deviations of the brain.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, LESIONS, OEDEMA, WM
from brainspade_cli.sampling.lesion_borders import softened
from brainspade_cli.slices import ScanRecord, SliceSet, open_slice_set
from brainspade_cli.weights import open_bundle

SLICES_A_SCAN = 4
STYLE_SLICES = 8
LEAST_LESION = 400
LEAST_PIXELS = 10
# Distances of pixels' centres from the border, negative inside.
FARTHEST, SHOWN = 5.5, (-3.5, -2.5, -1.5, -0.5, 0.5, 1.5)
AWAY_FROM_OTHERS = 3
NEAR = 4

Example = tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]


def signed_distance(label: NDArray[np.integer]) -> NDArray[np.floating]:
    """Distance (X, Y) of each pixel's centre from the border of the lesion, in pixels, negative inside."""
    lesion = np.isin(label, LESIONS)
    inside, outside = ndimage.distance_transform_edt(lesion), ndimage.distance_transform_edt(~lesion)
    return np.where(lesion, 0.5 - inside, outside - 0.5)


def profile(label: NDArray[np.integer], image: NDArray[np.floating]) -> list[float]:
    """Means of an image (X, Y) at `FARTHEST` inside, at `SHOWN` and at `FARTHEST` outside; NaN where hardly any is.

    Of oedema and white matter alone, away from other tissues.
    """
    others = ~np.isin(label, (WM, *LESIONS))
    where = np.isin(label, (WM, OEDEMA)) & (ndimage.distance_transform_edt(~others) > AWAY_FROM_OTHERS)
    distance = signed_distance(label)
    rings = [where & (np.abs(distance - place) <= 0.5) for place in (-FARTHEST, *SHOWN, FARTHEST)]
    return [float(image[ring].mean()) if ring.sum() >= LEAST_PIXELS else np.nan for ring in rings]


def examples(
    slices: SliceSet, scan: ScanRecord, modality: str, encoder: torch.nn.Module, painter: torch.nn.Module
) -> Iterator[Example]:
    """Labels (X, Y) of slices with a large lesion, each with its images (X, Y) by what they are, z-scored."""
    labels = np.asarray(slices.labels(scan)).argmax(axis=1)
    found = np.flatnonzero(np.isin(labels, LESIONS).sum(axis=(1, 2)) >= LEAST_LESION)
    if len(found) < SLICES_A_SCAN:
        return
    images = np.asarray(slices.images(scan, modality), np.float32)
    styles = images[np.linspace(0.2 * scan.slices, 0.8 * scan.slices, STYLE_SLICES).astype(int)]
    code = encoder(torch.from_numpy(styles)[:, None])[0].mean(dim=0, keepdim=True)
    for place in found[np.linspace(0, len(found) - 1, SLICES_A_SCAN).astype(int)]:
        shown = {"scans": images[place]}
        maps = np.array(slices.labels(scan)[place])
        for name, painted in (("painted as they are", maps), ("painted softly", softened(maps))):
            fractions = torch.from_numpy(painted.astype(np.float32) / 255)[None]
            shown[name] = painter(fractions, code)[0, 0].numpy()
        yield labels[place].astype(np.uint8), shown


@torch.inference_mode()
def main(folder: Path, weights: str) -> None:
    """Print three lines a modality."""
    slices, bundle = open_slice_set(folder), open_bundle(weights)
    encoder, painter = bundle.network("style_encoder"), bundle.network("spade_generator")
    for modality in bundle.config.modalities:
        profiles: defaultdict[str, list[list[float]]] = defaultdict(list)
        off: defaultdict[str, list[float]] = defaultdict(list)
        for scan in slices.select(split="train", population="tumour"):
            if modality not in scan.modalities or not scan.has_labels:
                continue
            for label, shown in examples(slices, scan, modality, encoder, painter):
                near = (np.abs(signed_distance(label)) <= NEAR) & (label != BACKGROUND)
                for name, image in shown.items():
                    profiles[name].append(profile(label, image))
                    off[name].append(float(np.abs(image - shown["scans"])[near].mean()))
        for name, rows in profiles.items():
            inside, *between, outside = np.nanmean(rows, axis=0)
            kept = " ".join(f"{(value - outside) / (inside - outside):.2f}" for value in between)
            print(f"{modality}, {len(rows)} slices, {name}: {kept}, off by {np.mean(off[name]):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("weights")
    arguments = parser.parse_args()
    main(arguments.slices, arguments.weights)
