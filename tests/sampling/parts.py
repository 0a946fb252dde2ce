"""What the tests of sampling share: a bundle of random tiny networks, and labels that pass their checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from brainspade_cli.anatomy import CHANNELS, CSF, GM, OEDEMA, TUMOUR, WM
from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import ConditionTable, LatentStatistics
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.devices import Compute
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.networks.spade_generator import SpadeGenerator
from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.presets import Preset, preset
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.styles.intensities import intensity_scale
from brainspade_cli.styles.pool import StylePool, StyleSource
from tests.phantoms import save, t1_of, tissue_phantom

CONDITIONS = ConditionTable((0.3, 0.5, 0.7), (0.01, 0.05, 0.2), ((4.0, 2.0, 2.0), (4.0, 1.0, 3.0)))


def tiny_bundle(folder: Path, seed: int = 0, sizes: Preset | None = None) -> Bundle:
    """Write a whole bundle with random weights; its labels are noise and fail every check. `sizes`: tiny ones."""
    sizes = sizes or preset("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = {
            "label_autoencoder": LabelAutoencoder(sizes.autoencoder),
            "denoiser_healthy": LabelDenoiser(sizes.denoiser),
            "denoiser_tumour": LabelDenoiser(sizes.denoiser),
            "style_encoder": StyleEncoder(sizes.style_encoder),
            "spade_generator": SpadeGenerator(sizes.generator),
        }
        for network in networks.values():
            # Zero-initialised layers would hide what the rest does.
            for parameter in network.parameters():
                parameter.data += 0.05 * torch.randn_like(parameter)
        bank = {f"t2.{part}": 0.3 * torch.randn(5, sizes.style_encoder.style_dim) for part in ("mean", "log_variance")}
    updates = {
        "name": "tiny",
        "preset": "tiny",
        "networks": {"denoiser": sizes.denoiser},
        "latent": LatentStatistics((0.1, -0.1, 0.0), (1.0, 0.8, 1.2)),
        "conditions": {"healthy": CONDITIONS, "tumour": CONDITIONS},
        "modalities": ["t1", "t2", "flair"],
        "style_bank": {"t2": {"intensity_mean": 300.0, "intensity_std": 80.0, "background": 0.0}},
    }
    states = {name: network.state_dict() for name, network in networks.items()}
    return create_or_update_bundle(folder, config_updates=updates, networks={**states, "style_bank": bank})


def style_scan(path: Path, seed: int = 0) -> Path:
    """Write a coarse T1-like phantom that can serve as a style."""
    return save(path, t1_of(tissue_phantom((3.0, 3.0, 6.0), seed), seed), (3.0, 3.0, 6.0))


def ellipse_label(tumour: bool = False, shift: int = 0) -> NDArray[np.uint8]:
    """A label (192, 256) of nested ellipses, with a round tumour where asked for."""
    x, y = np.meshgrid(*(np.arange(side) - side / 2 for side in SLICE_SHAPE), indexing="ij")
    radius = np.hypot((x - shift) / 65, y / 85)
    label = np.select([radius < 0.75, radius < 0.93, radius < 1], [WM, GM, CSF], 0).astype(np.uint8)
    if tumour:
        away = np.hypot(x - shift - 20, y - 20)
        label[away < 15] = OEDEMA
        label[away < 9] = TUMOUR
    return label


def one_hot_maps(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PV maps (8, X, Y) of bytes for a label without partial volumes."""
    return ((label == np.arange(CHANNELS)[:, None, None]) * 255).astype(np.uint8)


@dataclass
class EllipseLabels:
    """A label source for tests: pair i is an ellipse that its index shifts. `asked` counts the blocks."""

    asked: int = 0

    def draw(self, members: range) -> list[LabelDraw]:
        """The labels of a block."""
        self.asked += 1
        labels = [ellipse_label(shift=index % 7) for index in members]
        return [LabelDraw(one_hot_maps(label), label, float(members[0]), lesion=False) for label in labels]


def quiet() -> Reporter:
    """A reporter that shows no progress."""
    return Reporter(quiet=True)


def flat_pool(channels: tuple[str, ...] = ("t1",), style_dim: int = 8) -> StylePool:
    """A pool with one made-up scan a channel, for the tiny generator."""
    sources = tuple(
        StyleSource(
            channel=channel,
            name=f"{channel}.nii.gz",
            sha256=f"{place:064d}",
            subject="one",
            mean=torch.linspace(-1, 1, 4 * style_dim).reshape(4, style_dim) * (place + 1),
            log_variance=torch.full((4, style_dim), -2.0),
            scale=intensity_scale(300.0, 80.0, 0.0),
        )
        for place, channel in enumerate(channels)
    )
    return StylePool(channels, sources)


class Accelerator(Compute):
    """A CPU that is taken for an accelerator: whole blocks through the autoencoder, images in batches."""

    @property
    def is_cpu(self) -> bool:
        return False
