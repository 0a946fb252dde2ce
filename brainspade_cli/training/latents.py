"""Latents of all label slices, encoded once: the denoisers then train at latent size alone.

A latent is the mean of its posterior. Draws from it would add noise that the decoder has learned to overlook, most of
all outside the brain, where the KL loss makes latents all noise: a denoiser would spend itself on it.

training/latents/<population>/mean.npy         float16 (rows, copies, channels, h, w): copy 0 is the slice as it is,
                                               the others are flipped and deformed before they are encoded
training/latents/<population>/conditions.npy   float32 (rows, copies, 3): a copy may have its tumour in another brain
training/latents/<population>/index.json       what they were made of; written last
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.bundle_config import LatentStatistics
from brainspade_cli.errors import TrainingError
from brainspade_cli.files import disk_errors, remove_partials, write_json
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.label_denoiser import CONDITIONS
from brainspade_cli.presets import LabelTrainingConfig
from brainspade_cli.training.autoencoder import NAME as AUTOENCODER
from brainspade_cli.training.batches import LabelTable
from brainspade_cli.training.checkpoints import newest_checkpoint
from brainspade_cli.training.deform import draw_affine, draw_elastic, warp_maps
from brainspade_cli.training.loop import step_generator
from brainspade_cli.training.run import Run
from brainspade_cli.training.transplant import draw_hosts, transplant

ENCODED_TOGETHER = 16
STATISTICS_ROWS = 256
# The share of latents that lies within their limit.
INSIDE = 0.9999


@dataclass(frozen=True)
class LatentStore:
    """Latents of every row of a label table, memory-mapped: `mean` (rows, copies, C, h, w).

    `conditions` (rows, copies, 3) are what a denoiser is told of each.
    """

    mean: NDArray[np.float16]
    conditions: NDArray[np.float32]

    @property
    def copies(self) -> int:
        """Number of versions of each slice, the plain one among them."""
        return int(self.mean.shape[1])

    def latents(self, rows: Tensor, copies: Tensor) -> Tensor:
        """Latents (B, C, h, w) of the given rows and copies."""
        return torch.from_numpy(self.mean[rows.numpy(), copies.numpy()].astype(np.float32))

    def told(self, rows: Tensor, copies: Tensor) -> Tensor:
        """Conditions (B, 3) of the given rows and copies."""
        return torch.from_numpy(self.conditions[rows.numpy(), copies.numpy()])


@torch.no_grad()
def latent_statistics(run: Run, autoencoder: LabelAutoencoder, table: LabelTable) -> LatentStatistics:
    """Mean and standard deviation of each latent channel over up to 256 of the table's plain slices.

    KL with a small weight leaves latents far from unit variance; the denoisers see them standardised by these.
    """
    generator = step_generator(run.seed, "latent statistics", 0)
    # Drawn with replacement: of few slices, two draws for each tell means and deviations well enough.
    rows = table.draw(min(STATISTICS_ROWS, 2 * len(table)), generator)
    parts = [
        _encode(run, autoencoder, table.maps(part, run.machine.device)).cpu() for part in rows.split(ENCODED_TOGETHER)
    ]
    values = torch.cat(parts).double().transpose(0, 1).flatten(1)
    mean, std = values.mean(dim=1), values.std(dim=1).clamp(min=1e-6)
    scores = ((values - mean[:, None]) / std[:, None]).abs().flatten().sort().values
    limit = scores[int(INSIDE * (len(scores) - 1))].item()
    return LatentStatistics(mean=tuple(mean.tolist()), std=tuple(std.tolist()), limit=limit)


def open_latents(
    run: Run, autoencoder: LabelAutoencoder, table: LabelTable, everything: LabelTable, population: str
) -> LatentStore:
    """The latents of a label table; encoded now, unless they are there from the same autoencoder and slices.

    `everything`, the labelled slices of all populations, has the brains that tumours are moved to.
    """
    folder = run.out / "training" / "latents" / population
    wanted = _index(run, table, everything)
    if _read_index(folder) != wanted:
        run.machine.wait()
        with disk_errors(folder, "go on with --resume"), run.machine.alone(folder):
            _encode_all(run, autoencoder, table, everything, folder)
            run.machine.wait()
            if run.machine.is_main:
                remove_partials(folder)
                write_json(folder / "index.json", wanted)
    try:
        return LatentStore(
            mean=np.load(folder / "mean.npy", mmap_mode="r", allow_pickle=False),
            conditions=np.load(folder / "conditions.npy", allow_pickle=False),
        )
    except (EOFError, ValueError) as error:
        raise TrainingError(f"{folder} is damaged; delete it and go on with --resume.") from error


@torch.no_grad()
def _encode_all(
    run: Run, autoencoder: LabelAutoencoder, table: LabelTable, everything: LabelTable, folder: Path
) -> None:
    """Encode every row in every copy; processes take turns. A batch's deformations follow from its first row alone."""
    settings, machine = run.preset.labels, run.machine
    copies = 1 + settings.latent_copies
    batches = torch.arange(len(table)).split(ENCODED_TOGETHER)
    with run.reporter.progress(f"encoding {folder.name} labels", len(batches)) as advance:
        stores: tuple[NDArray[Any], ...] = ()
        for number, rows in enumerate(batches):
            if number % machine.processes != machine.rank and stores:
                continue
            maps = table.maps(rows, machine.device)
            generator = step_generator(run.seed, f"latents {folder.name}", number)
            for copy in range(copies):
                affine = draw_affine(
                    len(rows),
                    generator,
                    scale=settings.affine_scale,
                    degrees=settings.affine_degrees,
                    shift=settings.affine_shift,
                    flip=settings.flip,
                )
                elastic = draw_elastic(len(rows), generator, shift=settings.elastic_shift)
                version, told = maps, table.conditions[rows]
                if copy > 0:
                    moved, told = _with_moved_tumours(run, table, everything, rows, maps, generator)
                    version = warp_maps(moved, affine, elastic if settings.elastic_shift > 0 else None)
                encoded = _encode(run, autoencoder, version)
                if not stores:
                    stores = _create(run, folder, (len(table), copies), encoded.shape[1:])
                for store, values in zip(stores, (encoded, told), strict=True):
                    store[rows.numpy(), copy] = values.cpu().numpy().astype(store.dtype)
            advance(machine.processes)
    for store in stores:
        cast(np.memmap, store).flush()


def _with_moved_tumours(
    run: Run, table: LabelTable, everything: LabelTable, rows: Tensor, maps: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Maps and conditions of the rows, the preset's share of those with a tumour in another person's brain."""
    told = table.conditions[rows].clone()
    chosen = (told[:, 1] > 0) & (torch.rand(len(rows), generator=generator) < run.preset.labels.moved_tumours)
    hosts = draw_hosts(table, everything, rows, generator)
    places = torch.nonzero(chosen & (hosts >= 0)).flatten()
    if not len(places):
        return maps, told
    moved, loads = transplant(maps[places], everything.maps(hosts[places], maps.device))
    kept = (loads > 0).cpu()
    maps = maps.clone()
    maps[places[kept]] = moved[kept]
    told[places[kept], 2] = loads[kept].cpu().float()
    return maps, told


def _create(run: Run, folder: Path, rows: tuple[int, int], latent: tuple[int, ...]) -> tuple[NDArray[Any], ...]:
    """Open the two arrays for writing; the main process makes them, without an index until they are whole."""
    kinds: dict[str, tuple[type, tuple[int, ...]]] = {
        "mean": (np.float16, latent),
        "conditions": (np.float32, (CONDITIONS,)),
    }
    if run.machine.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").unlink(missing_ok=True)
        for name, (dtype, shape) in kinds.items():
            path = folder / f"{name}.npy"
            # A file that another process has mapped stays whole under its feet.
            path.unlink(missing_ok=True)
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(*rows, *shape)).flush()
            _take_room(path)
    run.machine.wait()
    return tuple(np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+") for name in kinds)


def _take_room(path: Path) -> None:
    """Have the disk set a file's room aside: without, a full disk would end the process without a word (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _encode(run: Run, autoencoder: LabelAutoencoder, maps: Tensor) -> Tensor:
    """Latents, float32, of PV maps."""
    with run.machine.autocast():
        mean, _ = autoencoder.encode(maps)
    return mean.float()


def _index(run: Run, table: LabelTable, everything: LabelTable) -> dict[str, Any]:
    """Everything that the latents depend on."""
    found = newest_checkpoint(run.folder(AUTOENCODER))
    assert found is not None, "latents are encoded after the autoencoder has been trained"
    settings = run.preset.labels
    return {
        "autoencoder": found[1]["sha256"],
        "seed": run.seed,
        "encoded_together": ENCODED_TOGETHER,
        **copy_settings(settings),
        "scans": _scans(table),
        "hosts": _scans(everything) if settings.moved_tumours > 0 else [],
    }


def copy_settings(settings: LabelTrainingConfig) -> dict[str, Any]:
    """What the deformed copies of a slice depend on, beside the seed; as JSON data."""
    return {
        "copies": settings.latent_copies,
        "deformation": [
            settings.affine_scale,
            settings.affine_degrees,
            settings.affine_shift,
            settings.flip,
            settings.elastic_shift,
        ],
        "moved_tumours": settings.moved_tumours,
    }


def _scans(table: LabelTable) -> list[list[Any]]:
    return [[record.name, record.slices, record.fingerprint] for record in table.records]


def _read_index(folder: Path) -> Any:
    try:
        return json.loads((folder / "index.json").read_text())
    except (OSError, ValueError):
        return None
