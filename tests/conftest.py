"""Fixtures for every test: a small synthetic slice set, made once a session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray

from brainspade_cli import cli
from brainspade_cli.anatomy import BACKGROUND, BRAINSTEM, CHANNELS, CSF, DEEP_GM, GM, OEDEMA, TUMOUR, WM
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.slices import BACKGROUND_VALUE, ScanRecord, create_slice_set, write_record

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SLICES_PER_SCAN = 6
# Exit code, stdout and stderr of a command.
CommandLine = Callable[..., tuple[int, str, str]]
# Mean intensity of each tissue, in z-scores before standardisation: csf, gm, wm, deep gm, brainstem, tumour, oedema.
CONTRASTS = {
    "t1": (-2.0, 0.0, 1.2, 0.5, 0.8, -0.8, -0.4),
    "flair": (-2.0, 0.7, 0.2, 0.5, 0.2, 1.5, 2.0),
}


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Tiny networks gain nothing from many threads, and share the machine with other test runs."""
    torch.set_num_threads(1)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """Run `brainspade ARGUMENTS` in this process; returns exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brainspade", *map(str, arguments)])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        out, error = capfd.readouterr()
        return code, out, error

    return call


@pytest.fixture(scope="session")
def slice_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice set of 4 healthy and 4 tumour people, one of each held out: ellipse brains with rings of tissue.

    Everybody has t1 and labels, people with tumours flair as well; two datasets; 6 slices a person.
    """
    folder = tmp_path_factory.mktemp("slices") / "set"
    create_slice_set(folder)
    for number in range(8):
        make_scan(folder, number, population="tumour" if number >= 4 else "healthy", held_out=number in (3, 7))
    return folder


def make_scan(folder: Path, number: int, *, population: str, held_out: bool) -> ScanRecord:
    """Write one synthetic person into a slice set, and return the record."""
    generator = np.random.default_rng(number)
    positions = tuple(-10.0 + 10.0 * index for index in range(SLICES_PER_SCAN))
    # The last two slices of a person with a tumour show none.
    maps = np.stack(
        [
            brain_maps(generator, position, tumour=population == "tumour" and index < SLICES_PER_SCAN - 2)
            for index, position in enumerate(positions)
        ]
    )
    strong = maps >= 0.5
    brain = ~strong[:, BACKGROUND]
    lesion = strong[:, TUMOUR] | strong[:, OEDEMA]
    modalities = ("t1", "flair") if population == "tumour" else ("t1",)
    name = f"sub-{population}{number}"
    record = ScanRecord(
        name=name,
        subject=name,
        person=name,
        dataset="rings" if population == "healthy" else "lesions",
        split="held-out" if held_out else "train",
        population=population,
        modalities=modalities,
        has_labels=True,
        positions=positions,
        brain_pixels=tuple(int(part.sum()) for part in brain),
        tumour_pixels=tuple(int(part.sum()) for part in lesion),
        lesion_load=tuple(float(part.sum() / whole.sum()) for part, whole in zip(lesion, brain, strict=True)),
        fingerprint=f"synthetic-{number}",
    )
    target = folder / "scans" / name
    target.mkdir(parents=True)
    np.save(target / "labels.npy", to_bytes(maps))
    for modality in modalities:
        np.save(target / f"{modality}.npy", paint(maps, brain, modality, generator))
    write_record(folder, record)
    return record


def brain_maps(generator: np.random.Generator, height: float, *, tumour: bool) -> NDArray[np.float64]:
    """PV maps (8, 192, 256) of one slice: nested ellipses from the skull inwards, and a round tumour in oedema."""
    x = np.arange(SLICE_SHAPE[0])[:, None] - (SLICE_SHAPE[0] - 1) / 2
    y = np.arange(SLICE_SHAPE[1])[None, :] - (SLICE_SHAPE[1] - 1) / 2
    size = 1 - 0.004 * abs(height) + 0.05 * generator.standard_normal()
    radius = np.sqrt((x / (66 * size)) ** 2 + (y / (84 * size)) ** 2)
    limits = {CSF: 1.0, GM: 0.93, WM: 0.75, DEEP_GM: 0.3, BRAINSTEM: 0.12}
    # Half-a-pixel slopes at every border give partial volumes.
    inside = {channel: np.clip((limit - radius) * 40 + 0.5, 0, 1) for channel, limit in limits.items()}
    if tumour:
        angle = generator.uniform(0, 2 * np.pi)
        away = np.hypot(x - 35 * np.cos(angle), y - 45 * np.sin(angle))
        brain = inside[CSF]
        inside[OEDEMA] = np.clip(20 - away, 0, 1) * brain
        inside[TUMOUR] = np.clip(12 - away, 0, 1) * brain
    maps = np.zeros((CHANNELS, *SLICE_SHAPE))
    maps[BACKGROUND] = 1
    for channel, share in inside.items():
        maps *= 1 - share
        maps[channel] += share
    return maps


def to_bytes(maps: NDArray[np.float64]) -> NDArray[np.uint8]:
    """PV maps (slices, 8, X, Y) as bytes that sum to 255: the rounding error goes to the strongest channel."""
    counts = np.rint(maps * 255).astype(np.int64)
    error = 255 - counts.sum(axis=1, keepdims=True)
    np.put_along_axis(
        counts,
        maps.argmax(axis=1)[:, None],
        np.take_along_axis(counts, maps.argmax(axis=1)[:, None], axis=1) + error,
        axis=1,
    )
    return counts.astype(np.uint8)


def paint(
    maps: NDArray[np.float64], brain: NDArray[np.bool_], modality: str, generator: np.random.Generator
) -> NDArray[np.float16]:
    """Images (slices, X, Y): tissue means mixed by partial volume, a little noise, z-scored over the brain."""
    image = np.tensordot(np.array(CONTRASTS[modality]), maps[:, 1:], axes=(0, 1))
    image += 0.05 * generator.standard_normal(image.shape)
    image = (image - image[brain].mean()) / image[brain].std()
    return np.where(brain, np.clip(image, -3.9, None), BACKGROUND_VALUE).astype(np.float16)
