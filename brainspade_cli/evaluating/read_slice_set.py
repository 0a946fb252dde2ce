"""The slices of real people in a slice set, chosen so that they are of the kind that a dataset was made to resemble."""

from __future__ import annotations

from functools import partial

import numpy as np

from brainspade_cli.anatomy import NAMES
from brainspade_cli.errors import SliceSetError
from brainspade_cli.evaluating.slice_source import Slice, SliceSource, evenly
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS
from brainspade_cli.slices import ScanRecord, SliceSet

SPLITS = ("held-out", "train", "all")
POPULATIONS = ("healthy", "tumour", "all")


def real_slices(slices: SliceSet, channels: tuple[str, ...], *, split: str, population: str, most: int) -> SliceSource:
    """Labels of one population's people, and images of whoever has one of the channels.

    For a healthy population, images of people with a tumour serve as well, from the slices that show none: of some
    contrasts there are no others. Raises SliceSetError where the split holds no labels of the population.
    """
    scans = [scan for name in _splits(split) for scan in slices.select(split=name) if scan.has_labels]
    own = [scan for scan in scans if population in ("all", scan.population)]
    if not own:
        raise SliceSetError(
            f"{slices.folder} has no {split} people with labels of population '{population}'; choose another --split or"
            " --population."
        )
    places = [(scan, k, True) for scan in own for k in range(scan.slices)]
    if population == "healthy":
        places += [
            (scan, k, False)
            for scan in scans
            if scan not in own and set(scan.modalities) & set(channels)
            for k in range(scan.slices)
            if scan.tumour_pixels[k] < MIN_TUMOUR_PIXELS
        ]
    chosen = [places[place] for place in evenly(len(places), most)]
    people = tuple(sorted({scan.person for scan in own}))
    lent = tuple(sorted({scan.person for scan, _, counts in places if not counts} - {*people}))
    kind = "" if population == "all" else f"{population} "
    return SliceSource(
        names=NAMES,
        channels=tuple(channel for channel in channels if any(channel in scan.modalities for scan, _, _ in places)),
        readers=[partial(_read, slices, scan, k, channels, counts) for scan, k, counts in chosen],
        total=len(places),
        people=people,
        description=f"{len(people)} {kind}people ({'held out and trained on' if split == 'all' else split})"
        + (f" and images of {len(lent)} with a tumour" if lent else ""),
        lent=lent,
    )


def _splits(split: str) -> tuple[str, ...]:
    return ("train", "held-out") if split == "all" else (split,)


def _read(slices: SliceSet, scan: ScanRecord, k: int, channels: tuple[str, ...], counts: bool) -> Slice:
    maps = np.array(slices.labels(scan)[k])
    images = {name: np.array(slices.images(scan, name)[k]) for name in channels if name in scan.modalities}
    for name, image in images.items():
        if not np.isfinite(image).all():
            path = slices.folder / "scans" / scan.name / f"{name}.npy"
            raise SliceSetError(f"{path} holds NaN or infinite values; delete its folder and prepare the scan again.")
    return Slice(
        label=maps.argmax(axis=0).astype(np.uint8),
        maps=maps,
        images=images,
        height=scan.positions[k],
        person=scan.person,
        counts_as_label=counts,
    )
