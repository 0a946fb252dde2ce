"""One scan's files -> its slices in a slice set: checked, aligned, z-scored, with PV maps where they can be had."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import (
    BRAINSTEM,
    BRATS,
    CHANNELS,
    CSF,
    DEEP_GM,
    FAST,
    LESIONS,
    OEDEMA,
    TUMOUR,
    WM,
    region_scheme,
)
from brainspade_cli.errors import InputError, ScanError
from brainspade_cli.files import sha256
from brainspade_cli.geometry import (
    GRID_SHAPE,
    MIN_BRAIN_FRACTION,
    MIN_TUMOUR_PIXELS,
    SLICE_SHAPE,
    grid_affine,
    slice_position,
)
from brainspade_cli.preparing.partial_volumes import Maps, channels_of, combine, label_fractions, quantise
from brainspade_cli.preparing.registration import Template, centring
from brainspade_cli.preparing.scan_table import ScanFiles
from brainspade_cli.preparing.tissues import posteriors
from brainspade_cli.preparing.volumes import (
    Volume,
    find_foreground,
    normalise,
    read_maps,
    read_volume,
    require_contrast,
    sample_onto,
    strip_skull,
)
from brainspade_cli.reading import read_json, require_plain
from brainspade_cli.slices import BACKGROUND_VALUE, FORMAT, ScanRecord, remove_scan, write_array, write_record

# How far the clustering trusts a prior: a person's own tissue labels, or the population's maps.
OWN_PRIOR_WEIGHT = 0.3
POPULATION_PRIOR_WEIGHT = 0.3
PV_TOLERANCE = 0.02
# The largest schemes have some hundreds; a scan taken for a region map has many thousands.
MAX_REGIONS = 5000
# Brightness by channel of a T1-like picture of a label map, for aligning people who have no scan.
T1_LIKE = np.array([0.0, 0.25, 0.6, 1.0, 0.75, 0.9, 0.5, 0.55], np.float32)


@dataclass(frozen=True)
class Outcome:
    """What became of a scan. `status`: "labelled", "style only", "refused" or "unchanged"; `message` says why."""

    name: str
    status: str
    message: str = ""


def fingerprint(scan: ScanFiles, register: bool, prior: Path | None) -> str:
    """Hash of everything that a scan's slices depend on; raises ScanError where a file is missing."""
    try:
        for _, path in scan.files:
            require_plain(path)
        hashes = [(role, sha256(path)) for role, path in scan.files]
        if prior is not None:
            hashes.append(("prior", sha256(prior)))
    except OSError as error:
        raise ScanError(f"{error.filename} cannot be read ({error.strerror}); check the path.") from error
    key = json.dumps([FORMAT, scan.name, scan.dataset, scan.subject, scan.person, scan.split, register, hashes])
    return hashlib.sha256(key.encode()).hexdigest()


def prepare_scan(scan: ScanFiles, out: Path, register: bool, prior: Path | None) -> Outcome:
    """Prepare one scan into the slice set `out`. Never raises for what is wrong with the scan: the outcome says so.

    `prior` is a population prior (uint8 (channels, *GRID_SHAPE), .npy) for scans without a region map, or None.
    """
    folder = out / "scans" / scan.name
    try:
        mark = fingerprint(scan, register, prior)
    except InputError as error:
        # What is not there now, on a share that is down, may be there again: hours of work are not thrown away for it.
        kept = " (its slices from before are kept)" if (folder / "scan.json").exists() else ""
        return Outcome(scan.name, "refused", f"{error}{kept}")
    try:
        if _recorded(folder / "scan.json") == mark:
            return Outcome(scan.name, "unchanged")
        return _prepare(scan, out, register, prior, mark)
    except InputError as error:
        remove_scan(folder)
        return Outcome(scan.name, "refused", str(error))


def _recorded(record: Path) -> str | None:
    """The fingerprint in a scan's record; None where there is no whole one."""
    try:
        content = read_json(record)
    except (OSError, ValueError):
        return None
    return content.get("fingerprint") if isinstance(content, dict) else None


def _prepare(scan: ScanFiles, out: Path, register: bool, prior: Path | None, mark: str) -> Outcome:
    notes: list[str] = []
    images = {modality: read_volume(path) for modality, path in scan.images.items()}
    reference = images.get("t1") or next(iter(images.values()), None)
    if reference is not None:
        brain, note = _brain_of(reference)
        require_contrast(reference, brain)
        notes += note
        moving = np.where(brain, reference.data, 0).astype(np.float32)
        anchor = reference
    else:
        anchor, brain, moving = _label_picture(scan)
    transform = Template().align(moving, anchor.affine, anchor.path) if register else centring(brain, anchor.affine)
    to_world = transform @ grid_affine()
    brain_map = sample_onto(brain.astype(np.float32), anchor.affine, GRID_SHAPE, to_world)

    maps: Maps | None = None
    try:
        maps = _label_maps(scan, images.get("t1"), brain_map, to_world, prior)
    except ScanError as error:
        if not images:
            raise
        notes.append(str(error))
    if maps is None and not images:
        raise ScanError(f"{scan.name} has neither an image nor labels; give at least one of them.")

    inside = brain_map >= 0.5 if maps is None else maps[0] < 0.5
    counts = inside.sum(axis=(0, 1))
    kept = np.flatnonzero(counts >= MIN_BRAIN_FRACTION * np.prod(SLICE_SHAPE))
    if len(kept) == 0:
        raise ScanError(f"{anchor.path} has no axial slice with {MIN_BRAIN_FRACTION:.0%} brain.")
    _write_arrays(out / "scans" / scan.name, maps, images, inside, to_world, kept)
    lesion = maps[list(LESIONS)].sum(axis=0) >= 0.5 if maps is not None else np.zeros(GRID_SHAPE, bool)
    lesions = lesion.sum(axis=(0, 1))
    write_record(
        out,
        ScanRecord(
            name=scan.name,
            subject=scan.subject,
            person=scan.person,
            dataset=scan.dataset,
            split=scan.split,
            population="tumour" if _has_lesion(scan, lesions) else "healthy",
            modalities=tuple(sorted(images)),
            has_labels=maps is not None,
            positions=tuple(slice_position(int(k)) for k in kept),
            brain_pixels=tuple(int(counts[k]) for k in kept),
            tumour_pixels=tuple(int(lesions[k]) for k in kept),
            lesion_load=tuple(round(float(lesions[k] / counts[k]), 6) for k in kept),
            fingerprint=mark,
        ),
    )
    return Outcome(scan.name, "style only" if maps is None else "labelled", " ".join(notes))


def _has_lesion(scan: ScanFiles, lesions: NDArray[np.int_]) -> bool:
    """Whether the PV maps (`lesions`: pixels by slice) or the tumour mask show a lesion; an empty mask shows none."""
    if (lesions >= MIN_TUMOUR_PIXELS).any():
        return True
    if scan.tumour is None:
        return False
    try:
        return bool(read_volume(scan.tumour, allow_empty=True).data.any())
    except ScanError:  # somebody whose mask cannot be read is not known to be healthy
        return True


def _brain_of(volume: Volume) -> tuple[NDArray[np.bool_], list[str]]:
    foreground = find_foreground(volume)
    if not foreground.skull:
        return foreground.mask, []
    brain, stripped = strip_skull(volume, foreground)
    if not stripped:
        raise ScanError(f"{volume.path} shows a skull; strip it first, or install the extra `brainspade[strip]`.")
    return brain, [f"{volume.path.name} shows a skull: it was stripped with deepbet."]


def _label_picture(scan: ScanFiles) -> tuple[Volume, NDArray[np.bool_], NDArray[np.float32]]:
    """A T1-like picture of a person who has labels only, to align by."""
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


def _label_maps(
    scan: ScanFiles,
    t1: Volume | None,
    brain: NDArray[np.float32],
    to_world: NDArray[np.float64],
    prior: Path | None,
) -> Maps | None:
    """PV maps (channels, *GRID_SHAPE) from what the scan has, or None where it has nothing to make them from."""
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


def _write_arrays(
    folder: Path,
    maps: Maps | None,
    images: dict[str, Volume],
    inside: NDArray[np.bool_],
    to_world: NDArray[np.float64],
    kept: NDArray[np.int_],
) -> None:
    remove_scan(folder)
    folder.mkdir(parents=True)
    if maps is not None:
        write_array(folder / "labels.npy", np.ascontiguousarray(quantise(maps[..., kept]).transpose(3, 0, 1, 2)))
    for modality, volume in images.items():
        # Cubic, so that the aligned image is as sharp as the scan; overshoot at the skull's edge is cut by the mask.
        sampled = sample_onto(volume.data, volume.affine, GRID_SHAPE, to_world, order=3)
        sampled = np.clip(sampled, volume.data.min(), volume.data.max())
        scored, _, _ = normalise(sampled, inside, BACKGROUND_VALUE)
        rows = np.ascontiguousarray(scored[..., kept].transpose(2, 0, 1).astype(np.float16))
        write_array(folder / f"{modality}.npy", rows)
