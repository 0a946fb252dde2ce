"""One scan's files -> its slices in a slice set: checked, aligned, z-scored, with PV maps where they can be had."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import LESIONS
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
from brainspade_cli.preparing.channels import align_channel
from brainspade_cli.preparing.partial_volumes import Maps, quantise
from brainspade_cli.preparing.registration import Template, centring
from brainspade_cli.preparing.scan_labels import label_maps, label_picture
from brainspade_cli.preparing.scan_table import ScanFiles
from brainspade_cli.preparing.volumes import (
    Volume,
    above_zero,
    find_foreground,
    normalise,
    read_volume,
    require_contrast,
    sample_onto,
    strip_skull,
)
from brainspade_cli.reading import read_json, require_plain
from brainspade_cli.slices import BACKGROUND_VALUE, FORMAT, ScanRecord, remove_scan, write_array, write_record

# How channels are brought together: when it changes, slices of scans with several are made again.
CHANNELS_VERSION = 2
# What the values of region maps mean: the same for scans that have one.
REGIONS_VERSION = 1
# A slice counts as shown by a channel that covers so much of its brain.
LEAST_COVERED = 0.9
# A channel that does not show more of the slices than this share is left out; else slices that it does not show are.
MOST_NOT_SHOWN = 0.2


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
    key = [FORMAT, scan.name, scan.dataset, scan.subject, scan.person, scan.split, register, hashes]
    if len(scan.images) > 1:
        key.append(CHANNELS_VERSION)
    if scan.regions is not None:
        key.append(f"regions {REGIONS_VERSION}")
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


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
    notes = (
        [f"Left aside for others of their kind: {', '.join(path.name for path in scan.aside)}."] if scan.aside else []
    )
    images = {modality: read_volume(path) for modality, path in scan.images.items()}
    reference = _reference_of(images)
    if reference is not None:
        brain, note = _brain_of(reference)
        require_contrast(reference, brain)
        notes += note
        moving = np.where(brain, above_zero(reference.data, brain), 0).astype(np.float32)
        anchor = reference
    else:
        anchor, brain, moving = label_picture(scan)
    transform = Template().align(moving, anchor.affine, anchor.path) if register else centring(brain, anchor.affine)
    to_world = transform @ grid_affine()
    brain_map = sample_onto(brain.astype(np.float32), anchor.affine, GRID_SHAPE, to_world)

    maps: Maps | None = None
    try:
        maps = label_maps(scan, images.get("t1"), brain_map, to_world, prior)
    except ScanError as error:
        if not images:
            raise
        notes.append(str(error))
    else:
        if maps is None and images and scan.tumour is not None:
            notes.append(
                "Tissues are found in a T1, which it lacks."
                if "t1" not in images
                else "Its tumour is labelled and its tissues are not: that takes a map of its own (tissues, regions,"
                " pv), or people with regions or pv, not held out, in the same run."
            )
    if maps is None and not images:
        raise ScanError(f"{scan.name} has neither an image nor labels; give at least one of them.")

    inside = brain_map >= 0.5 if maps is None else maps[0] < 0.5
    counts = inside.sum(axis=(0, 1))
    kept = np.flatnonzero(counts >= MIN_BRAIN_FRACTION * np.prod(SLICE_SHAPE))
    if len(kept) == 0:
        raise ScanError(f"{anchor.path} has no axial slice with {MIN_BRAIN_FRACTION:.0%} brain.")
    places = dict.fromkeys(images, to_world)
    if register and reference is not None:
        for modality, volume in images.items():
            if volume is not reference:
                shift, told = align_channel(reference, volume, brain)
                places[modality] = shift @ to_world
                notes.append(told)
    # The brain is the reference's own.
    covered = {
        modality: inside if volume is reference else _covered(volume, places[modality], inside)
        for modality, volume in images.items()
    }
    shown, missing = _shown_by_all(covered, inside, kept)
    for modality in missing:
        notes.append(f"{images[modality].path.name} shows too little of the brain, and is left out.")
        del images[modality]
    if len(shown) < len(kept):
        notes.append(f"{len(kept) - len(shown)} of {len(kept)} slices are left out, which not all channels show.")
    kept = shown
    _write_arrays(out / "scans" / scan.name, maps, images, covered, places, kept)
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


def _covered(volume: Volume, to_world: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where on the grid the slices of a scan cover the brain; those of one value, as padding is, do not count."""
    field = np.ones_like(volume.data)
    field[..., volume.data.min(axis=(0, 1)) == volume.data.max(axis=(0, 1))] = 0
    return inside & (sample_onto(field, volume.affine, GRID_SHAPE, to_world) > 0.5)


def _shown_by_all(
    covered: dict[str, NDArray[np.bool_]], inside: NDArray[np.bool_], kept: NDArray[np.int_]
) -> tuple[NDArray[np.int_], list[str]]:
    """Those of the slices `kept` that all channels show, and the channels that show too few to be heeded."""
    area = inside.sum(axis=(0, 1))[kept]
    shown = {modality: mask.sum(axis=(0, 1))[kept] >= LEAST_COVERED * area for modality, mask in covered.items()}
    missing = [modality for modality, slices in shown.items() if (~slices).mean() > MOST_NOT_SHOWN]
    heeded = [slices for modality, slices in shown.items() if modality not in missing]
    return kept[np.all(heeded, axis=0)] if heeded else kept, missing


def _reference_of(images: dict[str, Volume]) -> Volume | None:
    """The scan that others are aligned to: the T1, for tissues are found in it, else the one of the finest voxels."""
    names = sorted(images, key=lambda name: (name != "t1", round(float(np.prod(images[name].spacing)), 3), name))
    return images[names[0]] if names else None


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


def _write_arrays(
    folder: Path,
    maps: Maps | None,
    images: dict[str, Volume],
    covered: dict[str, NDArray[np.bool_]],
    places: dict[str, NDArray[np.float64]],
    kept: NDArray[np.int_],
) -> None:
    remove_scan(folder)
    folder.mkdir(parents=True)
    if maps is not None:
        write_array(folder / "labels.npy", np.ascontiguousarray(quantise(maps[..., kept]).transpose(3, 0, 1, 2)))
    for modality, volume in images.items():
        # Cubic, so that the aligned image is as sharp as the scan; overshoot at the skull's edge is cut by the mask.
        sampled = sample_onto(volume.data, volume.affine, GRID_SHAPE, places[modality], order=3)
        sampled = np.clip(sampled, volume.data.min(), volume.data.max())
        # Beyond its field of view a channel is zero, which would count as dark tissue.
        scored, _, _ = normalise(sampled, covered[modality], BACKGROUND_VALUE)
        rows = np.ascontiguousarray(scored[..., kept].transpose(2, 0, 1).astype(np.float16))
        write_array(folder / f"{modality}.npy", rows)
