"""PV maps of one scan from what its table row names: given maps, regions, tissues, a tumour mask, its T1, a prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import BRAINSTEM, BRATS, CHANNELS, CSF, DEEP_GM, FAST, OEDEMA, TUMOUR, WM, region_scheme
from brainspade_cli.errors import ScanError
from brainspade_cli.geometry import GRID_SHAPE
from brainspade_cli.preparing.partial_volumes import Maps, channels_of, combine, label_fractions
from brainspade_cli.preparing.scan_table import ScanFiles
from brainspade_cli.preparing.tissues import posteriors
from brainspade_cli.preparing.volumes import Volume, read_maps, read_volume, sample_onto

# How far the clustering trusts a prior: a person's own tissue labels, or the population's maps.
OWN_PRIOR_WEIGHT = 0.3
POPULATION_PRIOR_WEIGHT = 0.3
PV_TOLERANCE = 0.02
# The largest schemes have some hundreds; a scan taken for a region map has many thousands.
MAX_REGIONS = 5000
# Brightness by channel of a T1-like picture of a label map, for aligning people who have no scan.
T1_LIKE = np.array([0.0, 0.25, 0.6, 1.0, 0.75, 0.9, 0.5, 0.55], np.float32)


def label_picture(scan: ScanFiles) -> tuple[Volume, NDArray[np.bool_], NDArray[np.float32]]:
    """A T1-like picture of a person who has labels only, to align by: their volume, its brain, and the picture.

    Raises ScanError where the scan names neither regions nor tissues, or they hold no brain.
    """
    path = scan.regions or scan.tissues
    if path is None:
        raise ScanError(f"{scan.name} has neither an image, nor regions, nor tissues; there is nothing to place it by.")
    volume = read_volume(path)
    scheme = _scheme(volume) if scan.regions else FAST
    channels = channels_of(volume, scheme)
    brain = channels > 0
    if not brain.any():
        raise ScanError(f"{path} holds no brain label.")
    return volume, brain, T1_LIKE[channels]


def _scheme(volume: Volume) -> dict[int, int]:
    values = np.unique(np.round(volume.data))
    if len(values) > MAX_REGIONS:
        raise ScanError(f"{volume.path} holds {len(values)} different values, more than any region map; give labels.")
    try:
        return dict(region_scheme(frozenset(int(value) for value in values)))
    except ValueError as error:
        raise ScanError(f"{volume.path} cannot be used as a region map: {error}.") from error


def label_maps(
    scan: ScanFiles,
    t1: Volume | None,
    brain: NDArray[np.float32],
    to_world: NDArray[np.float64],
    prior: Path | None,
) -> Maps | None:
    """PV maps (channels, *GRID_SHAPE) from what the scan has, or None where it has nothing to make them from.

    `t1`: its T1, where it has one; `brain`: 0..1 on the grid, whose voxels `to_world` (4, 4) places in the scan's
    space; `prior`: as for `prepare_scan`. Raises ScanError for files that are not what the table says.
    """
    if scan.pv is not None:
        return _given_maps(scan.pv, to_world)
    lesions = np.zeros((CHANNELS, *GRID_SHAPE), np.float32)
    if scan.tumour is not None:
        lesions = _lesion_maps(scan.tumour, to_world)
    own = label_fractions(read_volume(scan.tissues), FAST, to_world) if scan.tissues else None
    regions = None
    if scan.regions is not None:
        volume = read_volume(scan.regions)
        regions = label_fractions(volume, _scheme(volume), to_world)
        if t1 is None:
            brain = np.clip(regions[1:].sum(axis=0), 0, 1)
    population = None if prior is None else np.load(prior, mmap_mode="r").astype(np.float32) / 255.0

    if t1 is not None and (own is not None or population is not None or regions is not None):
        source, weight = next(
            (maps, weight)
            for maps, weight in (
                (own, OWN_PRIOR_WEIGHT),
                (population, POPULATION_PRIOR_WEIGHT),
                (regions, OWN_PRIOR_WEIGHT),
            )
            if maps is not None
        )
        mask = (brain >= 0.5) & (lesions[TUMOUR] + lesions[OEDEMA] < 0.5)
        image = sample_onto(t1.data, t1.affine, GRID_SHAPE, to_world, order=1)
        expected = source[CSF : WM + 1] + _deep_share(source)
        tissues = posteriors(image, mask, expected, weight, t1.path)
    elif own is not None or regions is not None:
        tissues = (own if own is not None else regions)[CSF : WM + 1]  # type: ignore[index]
    else:
        return None
    if regions is not None:
        deep, stem = regions[DEEP_GM], regions[BRAINSTEM]
    elif population is not None:
        outside_csf = 1.0 - tissues[0]
        deep, stem = (_sharpened(population[channel]) * outside_csf for channel in (DEEP_GM, BRAINSTEM))
    else:
        raise ScanError(
            f"{scan.name} has no region map and no other scan here has one to learn deep grey matter and brainstem "
            "from; it serves as style only. Add people with region maps."
        )
    return combine(brain, tissues, deep, stem, lesions[TUMOUR], lesions[OEDEMA])


def _deep_share(maps: Maps) -> Maps:
    """Deep grey matter counts as grey, brainstem as white, where a prior has only three tissues (CSF, GM, WM)."""
    return np.stack([np.zeros_like(maps[0]), maps[DEEP_GM], maps[BRAINSTEM]])


def _sharpened(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """An average of aligned masks as one person's: edges at a probability of one half, as sharp as one brain's."""
    powered = probability**4
    return np.asarray(powered / (powered + (1.0 - probability) ** 4), dtype=np.float32)


def _lesion_maps(path: Path, to_world: NDArray[np.float64]) -> Maps:
    volume = read_volume(path, allow_empty=True)
    values = np.unique(volume.data)
    unknown = values[~np.isin(values, [0, *BRATS])]
    if len(unknown):
        listed = ", ".join(f"{value:g}" for value in unknown[:8])
        raise ScanError(f"{path} holds {listed}; a tumour mask holds 0, 1, 2 and 3 or 4.")
    return label_fractions(volume, BRATS, to_world)


def _given_maps(path: Path, to_world: NDArray[np.float64]) -> Maps:
    data, affine = read_maps(path)
    if data.shape[3] != CHANNELS:
        raise ScanError(f"{path} has {data.shape[3]} maps; the label table has {CHANNELS}, background first.")
    total = data.sum(axis=3)
    if data.min() < -PV_TOLERANCE or np.abs(total - 1.0).max() > PV_TOLERANCE:
        raise ScanError(f"{path} holds PV maps that do not sum to 1 (from {total.min():.2f} to {total.max():.2f}).")
    maps = np.stack(
        [
            sample_onto(data[..., channel], affine, GRID_SHAPE, to_world, outside=float(channel == 0))
            for channel in range(CHANNELS)
        ]
    )
    maps = np.clip(maps, 0, 1)
    return np.asarray(maps / maps.sum(axis=0), dtype=np.float32)
