"""Measure weights on people whom no stage of their training saw: does the painted contrast follow the style scan?

    python examples/train_starter/measure.py SLICES WEIGHTS

For every held-out scan, its own labels are painted in the style of other slices of the same scan. Compared are the mean
z-scores of each tissue, painted against real: their correlation over tissues, and their mean absolute difference. For
scale, the same labels painted in the style of another held-out person's scan of another contrast. The last two columns
are of pixels of the brain, painted in the scan's own style against real: mean absolute difference, in SDs of the brain,
and correlation.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from brainspade_cli.anatomy import BACKGROUND, CHANNELS
from brainspade_cli.errors import InputError
from brainspade_cli.slices import BACKGROUND_VALUE, ScanRecord, SliceSet, open_slice_set
from brainspade_cli.weights import open_bundle

SLICES_A_SCAN = 8
PURE = 230
FEWEST_PIXELS = 100


def middle_slices(scan: ScanRecord, shift: float = 0.0) -> np.ndarray:
    """Indices of slices spread over the middle 70 % of a scan."""
    return (np.linspace(0.15 + shift, 0.85 + shift, SLICES_A_SCAN) * (scan.slices - 1)).round().astype(int)


def tissue_means(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Mean of each tissue but background (channels - 1,) over its pure pixels; NaN where there are hardly any."""
    pure = maps > PURE
    return np.array(
        [
            images[pure[:, channel]].mean() if pure[:, channel].sum() >= FEWEST_PIXELS else np.nan
            for channel in range(1, CHANNELS)
        ]
    )


def pixel_fit(painted: np.ndarray, real: np.ndarray, maps: np.ndarray) -> tuple[float, float]:
    """Mean absolute difference and correlation of two images (N, X, Y) where the label and the real one show brain."""
    brain = (maps.argmax(axis=1) != BACKGROUND) & (real > BACKGROUND_VALUE + 0.1)
    return float(np.abs(painted - real)[brain].mean()), float(np.corrcoef(painted[brain], real[brain])[0, 1])


@torch.inference_mode()
def main(folder: Path, weights: str) -> None:
    """Print a table, a row per held-out scan."""
    slices: SliceSet = open_slice_set(folder)
    bundle = open_bundle(weights)
    held_out = [scan for scan in slices.select(split="held-out") if scan.has_labels and scan.modalities]
    seen = {name for scan in held_out for name in scan.person_names} & set(bundle.config.people.train)
    if seen:
        raise InputError(f"{weights} were trained on {', '.join(sorted(seen))}; measure on others.")
    encoder, painter = bundle.network("style_encoder"), bundle.network("spade_generator")
    codes = {}
    for scan in held_out:
        for modality in scan.modalities:
            styles = np.array(slices.images(scan, modality)[middle_slices(scan, 0.04)], dtype=np.float32)
            codes[scan.name, modality] = encoder(torch.from_numpy(styles)[:, None])[0].mean(dim=0, keepdim=True)
    other = {
        key: next((code for (name, kind), code in codes.items() if kind != key[1] and name != key[0]), None)
        for key in codes
    }
    if None in other.values():
        raise InputError(f"{folder} holds out too few scans of another contrast to tell styles apart by.")

    print("scan\tmodality\tcorrelation\tdifference\tdifference, other style\tof pixels\tcorrelation of pixels")
    for scan in held_out:
        picks = middle_slices(scan)
        maps = np.array(slices.labels(scan)[picks])
        inputs = torch.from_numpy(maps.astype(np.float32) / 255)
        for modality in scan.modalities:
            key = scan.name, modality
            image = np.array(slices.images(scan, modality)[picks], dtype=np.float32)
            real, results = tissue_means(image, maps), []
            for code in (codes[key], other[key]):
                parts = [painter(part, code.expand(len(part), -1)) for part in inputs.split(2)]
                painted = torch.cat(parts)[:, 0].numpy()
                means = tissue_means(painted, maps)
                there = np.isfinite(real) & np.isfinite(means)
                correlation = np.corrcoef(real[there], means[there])[0, 1]
                results.append((correlation, np.abs(real - means)[there].mean(), *pixel_fit(painted, image, maps)))
            (correlation, own, *pixels), (_, others, *_) = results
            row = (correlation, own, others, *pixels)
            print("\t".join([scan.name, modality, *(f"{value:.3f}" for value in row)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("weights")
    arguments = parser.parse_args()
    main(arguments.slices, arguments.weights)
