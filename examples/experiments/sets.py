"""Sets of labelled slices, each an nnU-Net raw dataset in the labels of the table: real, synthetic, painted, simulated.

A set is a function of its recipe alone, and lies in a folder that is named after it: what one experiment, or one run
with other weights, has made already, the next one finds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from simulate import simulate
from waiting import in_turn

from brainspade_cli.anatomy import LABELS
from brainspade_cli.console import Reporter
from brainspade_cli.files import replacing, write_json
from brainspade_cli.geometry import grid_affine
from brainspade_cli.nnunet.dataset import read_dataset
from brainspade_cli.nnunet.planes import NIFTI, read_plane
from brainspade_cli.nnunet.raw import RawLayout, write_case, write_dataset_json
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.run import SampleRequest
from brainspade_cli.sampling.sample import run_sampling
from brainspade_cli.slices import ScanRecord, SliceSet
from brainspade_cli.styles.intensities import IntensityScale

REAL, SYNTHETIC, PAINTED, SIMULATED = "real", "synthetic", "painted", "simulated"
SIMULATED_ON_SYNTHETIC = "simulated-on-synthetic"
# Labels drawn by the authors' sampler in as many steps as theirs, which stand where ours do: do the default's few
# evaluations cost anything?
SYNTHETIC_BY_DDIM = "synthetic-ddim80"
DDIM_STEPS = 80
# How z-scores are stored everywhere here: 100 steps an SD, the mean at 500, 0 outside the brain.
STORAGE = IntensityScale(mean=500.0, std=100.0, background=0.0, offset=0.0, factor=1.0)
TABLE = {label.name: label.channel for label in LABELS}


@dataclass(frozen=True)
class Recipe:
    """Everything that a set is a function of.

    kind: `REAL` (labels and images of `scans`), `SYNTHETIC` (drawn labels, painted in the styles of `styles`),
    `SYNTHETIC_BY_DDIM` (the same, the labels drawn in 80 steps of DDIM),
    `PAINTED` (labels of `scans`, painted in these styles), `SIMULATED` (labels of `scans`, domain randomisation),
    `SIMULATED_ON_SYNTHETIC` (drawn labels, domain randomisation).
    scans, styles: names of scans, each with the fingerprint of its files. stride: every how manieth real slice.
    pairs: how many are made. weights: digest of the weights, empty where none are used. tumour: labels of patients,
    half of them with a lesion. version: `PAIRS_VERSION` of what these weights make, 0 where none are used.
    """

    kind: str
    channels: tuple[str, ...]
    scans: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    stride: int = 1
    pairs: int = 0
    tumour: bool = False
    seed: int = 0
    weights: str = ""
    version: int = 0

    @property
    def key(self) -> str:
        """Name of the set's folder: what it is, and a digest of everything."""
        settings = asdict(self)
        if not self.version:
            # Sets without weights were made, and named, before there was a version to tell apart.
            del settings["version"]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.kind}-{'-'.join(self.channels)}-{digest}"


@dataclass(frozen=True)
class Workshop:
    """Where sets are made, and of what: the slice set, the weights (None is the embedded bundle) and the device."""

    folder: Path
    slices: SliceSet
    weights: str | None
    device: str
    reporter: Reporter

    def scan(self, mark: str) -> ScanRecord:
        """The scan that a recipe names."""
        return next(scan for scan in self.slices.scans if mark_of(scan) == mark)


def mark_of(scan: ScanRecord) -> str:
    """How recipes name a scan: its name and the fingerprint of its files."""
    return f"{scan.name}:{scan.fingerprint[:16]}"


def make_set(recipe: Recipe, shop: Workshop) -> Path:
    """Make a set, or find the one that is there; returns the folder of the raw dataset, whole."""
    with in_turn(shop.folder / f"{recipe.key}.lock", recipe.key, shop.reporter):
        return _made(recipe, shop)


def _made(recipe: Recipe, shop: Workshop) -> Path:
    folder = shop.folder / recipe.key / "Dataset501_set"
    if (folder / "dataset.json").is_file() and recipe.kind not in (SYNTHETIC, SYNTHETIC_BY_DDIM, PAINTED):
        shop.reporter.say(f"{recipe.key}: there already.")
        return folder
    shop.reporter.say(f"{recipe.key}: making it, or what is missing of it.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder.parent / "recipe.json", asdict(recipe))
    if recipe.kind == REAL:
        _make_real(recipe, folder, shop)
    elif recipe.kind in (SIMULATED, SIMULATED_ON_SYNTHETIC):
        _make_simulated(recipe, folder, shop)
    else:
        _make_painted(recipe, folder, shop)
    return folder


def _make_real(recipe: Recipe, folder: Path, shop: Workshop) -> None:
    layout = RawLayout(folder, NIFTI)
    layout.create()
    count = 0
    for mark in recipe.scans:
        scan = shop.scan(mark)
        labels = hard_labels(shop.slices, scan)
        images = [shop.slices.images(scan, modality) for modality in recipe.channels]
        for k in _strided(scan, recipe.stride):
            stored = np.stack([STORAGE.store(np.asarray(image[k], np.float32)) for image in images])
            write_case(layout, case_name(scan, k), stored, labels[k], scan.positions[k])
            count += 1
    write_dataset_json(folder, TABLE, recipe.channels, count, NIFTI)


def _make_simulated(recipe: Recipe, folder: Path, shop: Workshop) -> None:
    """Domain randomisation of labels drawn at random, with replacement, from the recipe's."""
    layout = RawLayout(folder, NIFTI)
    layout.create()
    labels = _labels_to_simulate(recipe, shop)
    for index in range(recipe.pairs):
        # One generator a pair, so that a run that was cut off makes the same ones again.
        rng = np.random.default_rng((recipe.seed, index))
        label, images = simulate(labels(int(rng.integers(0, 2**31))), len(recipe.channels), rng)
        write_case(layout, f"simulated_{index:06d}", np.stack([STORAGE.store(image) for image in images]), label)
    write_dataset_json(folder, TABLE, recipe.channels, recipe.pairs, NIFTI)


def _labels_to_simulate(recipe: Recipe, shop: Workshop) -> Callable[[int], NDArray[np.uint8]]:
    """A function from any whole number to one of the labels that a recipe of simulated images is made from."""
    if recipe.kind == SIMULATED:
        scans = [shop.scan(mark) for mark in recipe.scans]
        places = [(scan, k) for scan in scans for k in _strided(scan, recipe.stride)]
        volumes = {scan.name: hard_labels(shop.slices, scan) for scan in scans}

        def real(number: int) -> NDArray[np.uint8]:
            scan, k = places[number % len(places)]
            return volumes[scan.name][k]

        return real
    drawn = read_dataset(make_set(replace(recipe, kind=SYNTHETIC), shop))

    def synthetic(number: int) -> NDArray[np.uint8]:
        return read_plane(drawn.cases[number % len(drawn.cases)].label)[0].astype(np.uint8)

    return synthetic


def _make_painted(recipe: Recipe, folder: Path, shop: Workshop) -> None:
    """What `brainspade sample` makes in the styles of whole scans, on its own labels or on those of real scans."""
    styles = folder.parent / "styles"
    styles.mkdir(exist_ok=True)
    for mark in recipe.styles:
        for channel in recipe.channels:
            write_style(shop.slices, shop.scan(mark), channel, styles)
    labels = None
    if recipe.kind == PAINTED:
        labels = folder.parent / "labels"
        labels.mkdir(exist_ok=True)
        for mark in recipe.scans:
            _write_maps(shop.slices, shop.scan(mark), recipe.stride, labels)
    plan = PairPlan(recipe.seed, tumour=recipe.tumour and labels is None, tumour_fraction=0.5)
    if recipe.kind == SYNTHETIC_BY_DDIM:
        plan = replace(plan, sampler="ddim", steps=DDIM_STEPS)
    request = SampleRequest(
        styles=tuple(f"{channel}={styles}" for channel in recipe.channels),
        pairs=recipe.pairs,
        folder=folder,
        plan=plan,
        weights=shop.weights,
        labels=labels,
        device=shop.device,
    )
    run_sampling(request, shop.reporter)


def write_style(slices: SliceSet, scan: ScanRecord, modality: str, folder: Path) -> Path:
    """Write the slices of a scan as one volume, as a user would hand it to `sample`: NIfTI, skull-stripped."""
    # One BIDS name a scan, so that its channels are drawn together and those of two never are.
    subject = re.sub("[^A-Za-z0-9]", "", scan.name) + hashlib.sha256(scan.name.encode()).hexdigest()[:6]
    path = folder / f"sub-{subject}_{modality}.nii.gz"
    volume = STORAGE.store(np.asarray(slices.images(scan, modality), np.float32))
    _write_volume(path, np.moveaxis(volume, 0, -1), scan, 1)
    return path


def hard_labels(slices: SliceSet, scan: ScanRecord) -> NDArray[np.uint8]:
    """Labels of a scan, (slices, X, Y): the strongest tissue of each pixel."""
    return np.asarray(slices.labels(scan)).argmax(axis=1).astype(np.uint8)


def case_name(scan: ScanRecord, k: int) -> str:
    """Name of slice `k` of a scan in a raw dataset; `slice_of` reads it."""
    return f"{scan.name}_{k:03d}"


def slice_of(case: str) -> tuple[str, int]:
    """Name of the scan and number of the slice in a name that `case_name` made."""
    name, _, k = case.rpartition("_")
    return name, int(k)


def _strided(scan: ScanRecord, stride: int) -> range:
    return range(min(stride // 2, scan.slices - 1), scan.slices, stride)


def _write_maps(slices: SliceSet, scan: ScanRecord, stride: int, folder: Path) -> None:
    """Write PV maps of every `stride`th slice as one NIfTI (X, Y, Z, 8) of bytes that sum to 255."""
    maps = np.asarray(slices.labels(scan))[_strided(scan, stride)]
    _write_volume(folder / f"{scan.name}.nii.gz", np.moveaxis(maps, (0, 1), (2, 3)), scan, stride)


def _write_volume(path: Path, data: NDArray[np.generic], scan: ScanRecord, stride: int) -> None:
    if path.is_file():
        return
    affine = grid_affine()
    affine[2, 2] = stride
    affine[2, 3] = scan.positions[_strided(scan, stride)[0]]
    with replacing(path) as temporary:
        nib.save(nib.Nifti1Image(np.ascontiguousarray(data), affine), temporary)
