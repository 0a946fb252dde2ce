"""Latents of all label slices, encoded once: the denoisers then train at latent size alone.

training/latents/<population>/mean.npy        float16 (rows, copies, channels, h, w): copy 0 is the slice as it is,
training/latents/<population>/deviation.npy   the others are flipped and deformed before they are encoded
training/latents/<population>/index.json      what they were made of; written last
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.bundle_config import LatentStatistics
from brainspade_cli.files import write_json
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.training.autoencoder import NAME as AUTOENCODER
from brainspade_cli.training.batches import LabelTable
from brainspade_cli.training.checkpoints import newest_checkpoint
from brainspade_cli.training.deform import draw_affine, warp_maps
from brainspade_cli.training.loop import step_generator
from brainspade_cli.training.run import Run

ENCODED_TOGETHER = 8
STATISTICS_ROWS = 256


@dataclass(frozen=True)
class LatentStore:
    """Posteriors of every row of a label table, memory-mapped: mean and deviation, (rows, copies, C, h, w)."""

    mean: NDArray[np.float16]
    deviation: NDArray[np.float16]

    @property
    def copies(self) -> int:
        """Number of versions of each slice, the plain one among them."""
        return int(self.mean.shape[1])

    def sample(self, rows: Tensor, copies: Tensor, noise: Tensor) -> Tensor:
        """Draws (B, C, h, w) from the posteriors of the given rows and copies, with standard normal `noise`."""
        index = (rows.numpy(), copies.numpy())
        mean = torch.from_numpy(self.mean[index].astype(np.float32))
        return mean + torch.from_numpy(self.deviation[index].astype(np.float32)) * noise


@torch.no_grad()
def latent_statistics(run: Run, autoencoder: LabelAutoencoder, table: LabelTable) -> LatentStatistics:
    """Mean and standard deviation of each latent channel over up to 256 draws of the table's plain slices.

    KL with a small weight leaves latents far from unit variance; the denoisers see them standardised by these.
    """
    generator = step_generator(run.seed, "latent statistics", 0)
    rows = table.draw(min(STATISTICS_ROWS, 8 * len(table)), generator)
    sums = torch.zeros(3, run.preset.autoencoder.latent_channels, dtype=torch.float64)
    for part in rows.split(ENCODED_TOGETHER):
        encoded = _encode(run, autoencoder, table.maps(part).to(run.machine.device))
        # Widened on the CPU: not every device has float64.
        mean, deviation = (value.cpu().double() for value in encoded)
        square = mean.square() + deviation.square()
        sums += torch.stack([torch.ones_like(square), mean, square]).sum(dim=(1, 3, 4))
    average = sums[1] / sums[0]
    spread = (sums[2] / sums[0] - average.square()).clamp(min=1e-12).sqrt()
    return LatentStatistics(mean=tuple(average.tolist()), std=tuple(spread.tolist()))


def open_latents(run: Run, autoencoder: LabelAutoencoder, table: LabelTable, population: str) -> LatentStore:
    """The latents of a label table; encoded now, unless they are there from the same autoencoder and slices."""
    folder = run.out / "training" / "latents" / population
    wanted = _index(run, table)
    if _read_index(folder) != wanted:
        run.machine.wait()
        _encode_all(run, autoencoder, table, folder)
        run.machine.wait()
        if run.machine.is_main:
            write_json(folder / "index.json", wanted)
    return LatentStore(
        mean=np.load(folder / "mean.npy", mmap_mode="r", allow_pickle=False),
        deviation=np.load(folder / "deviation.npy", mmap_mode="r", allow_pickle=False),
    )


@torch.no_grad()
def _encode_all(run: Run, autoencoder: LabelAutoencoder, table: LabelTable, folder: Path) -> None:
    """Encode every row in every copy; processes take turns. A batch's deformations follow from its first row alone."""
    settings, machine = run.preset.labels, run.machine
    copies = 1 + settings.latent_copies
    batches = torch.arange(len(table)).split(ENCODED_TOGETHER)
    with run.reporter.progress(f"encoding {folder.name} labels", len(batches)) as advance:
        stores: tuple[NDArray[np.float16], ...] = ()
        for number, rows in enumerate(batches):
            if number % machine.processes != machine.rank and stores:
                continue
            maps = table.maps(rows).to(machine.device)
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
                encoded = _encode(run, autoencoder, maps if copy == 0 else warp_maps(maps, affine))
                if not stores:
                    stores = _create(run, folder, (len(table), copies, *encoded[0].shape[1:]))
                for store, values in zip(stores, encoded, strict=True):
                    store[rows.numpy(), copy] = values.cpu().numpy().astype(np.float16)
            advance(machine.processes)


def _create(run: Run, folder: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.float16], ...]:
    """Open the two arrays for writing; the main process makes them, without an index until they are whole."""
    paths = (folder / "mean.npy", folder / "deviation.npy")
    if run.machine.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").unlink(missing_ok=True)
        for path in paths:
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape).flush()
    run.machine.wait()
    return tuple(np.lib.format.open_memmap(path, mode="r+") for path in paths)


def _encode(run: Run, autoencoder: LabelAutoencoder, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation, float32, of the posterior of PV maps."""
    with run.machine.autocast():
        mean, log_variance = autoencoder.encode(maps)
    return mean.float(), torch.exp(0.5 * log_variance.float())


def _index(run: Run, table: LabelTable) -> dict[str, Any]:
    """Everything that the latents depend on."""
    found = newest_checkpoint(run.folder(AUTOENCODER))
    assert found is not None, "latents are encoded after the autoencoder has been trained"
    settings = run.preset.labels
    return {
        "autoencoder": found[1]["sha256"],
        "seed": run.seed,
        "copies": settings.latent_copies,
        "deformation": [settings.affine_scale, settings.affine_degrees, settings.affine_shift, settings.flip],
        "scans": [[record.name, record.slices, record.fingerprint] for record in table.records],
    }


def _read_index(folder: Path) -> Any:
    try:
        return json.loads((folder / "index.json").read_text())
    except (OSError, ValueError):
        return None
