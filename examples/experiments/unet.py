"""The quick segmenter: one small plain U-Net, some hundred steps, minutes on one core. For development, not for claims.

Every slice is z-scored over its brain, in training and in testing, whatever made it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from brainspade_cli.files import replacing
from brainspade_cli.nnunet.dataset import IGNORE, RawCase, read_dataset
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.slices import BACKGROUND_VALUE

# What an ignored pixel is called in the loss.
NOT_COUNTED = -1
BATCH_IN_PREDICTION = 8
# Mild forms of nnU-Net's augmentations.
ROTATION = 0.35
SCALING = (0.8, 1.25)
NOISE = 0.1
CONTRAST = (0.75, 1.25)
GAMMA = (0.7, 1.5)
# Gamma bends the range from the background to here (SD); brighter pixels are cut off.
BRIGHTEST = 8.0


@dataclass(frozen=True)
class UNetSegmenter:
    """`steps` of `batch` crops of `crop` x `crop` pixels. `device`: a torch device."""

    steps: int
    batch: int = 8
    crop: int = 128
    rate: float = 2e-3
    widths: tuple[int, ...] = (16, 16, 32, 64, 128, 16)
    device: str = "cpu"

    @property
    def key(self) -> str:
        """Name of its folder."""
        settings = {name: value for name, value in asdict(self).items() if name != "device"}
        return f"unet-{self.steps}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:6]}"

    def train(self, raw: Path, arm: Path, folder: Path, seed: int) -> None:
        """Train from scratch and write model.safetensors; a training that was cut off starts again."""
        dataset = read_dataset(raw)
        labels = dataset.header.plain_labels
        classes = len(labels) - (IGNORE in labels)
        images, targets = _load(dataset.cases, labels.get(IGNORE))
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = self._network(images.shape[1], classes)
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.rate, self.steps, pct_start=0.1)
        for _ in range(self.steps):
            chosen = rng.integers(0, len(images), self.batch)
            # Sampling kernels want whole floats.
            batch, target = _crops(images[chosen].float(), targets[chosen], self.crop, rng)
            batch = _shaded(batch, rng, generator).to(self.device)
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                logits = network(batch.contiguous(memory_format=torch.channels_last))
            loss = segmentation_loss(logits.float(), target.to(self.device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with replacing(folder / "model.safetensors") as temporary:
            save_file({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, temporary)

    @torch.inference_mode()
    def predict(
        self, raw: Path, arm: Path, folder: Path, cases: Sequence[RawCase]
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Give each case's name and label (X, Y)."""
        dataset = read_dataset(raw)
        labels = dataset.header.plain_labels
        network = self._network(len(cases[0].images), len(labels) - (IGNORE in labels))
        network.load_state_dict(load_file(folder / "model.safetensors"))
        network.eval()
        for start in range(0, len(cases), BATCH_IN_PREDICTION):
            some = cases[start : start + BATCH_IN_PREDICTION]
            images = torch.stack([torch.from_numpy(read_images(case)) for case in some]).to(self.device)
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                logits = network(images.contiguous(memory_format=torch.channels_last))
            for case, label in zip(some, logits.argmax(dim=1).to(torch.uint8).cpu().numpy(), strict=True):
                yield case.name, label

    def _network(self, channels: int, classes: int) -> torch.nn.Module:
        # It prints its widths.
        with redirect_stdout(io.StringIO()):
            network: torch.nn.Module = BasicUNet(2, channels, classes, features=self.widths)
        network = network.to(self.device)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_images(case: RawCase) -> NDArray[np.float32]:
    """Images of a case, (channels, X, Y): each z-scored over its brain, `BACKGROUND_VALUE` where the file holds 0."""
    return np.stack([normalised(read_plane(path)[0]) for path in case.images])


def normalised(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """A stored slice (X, Y), 0 outside the brain, z-scored over the brain with `BACKGROUND_VALUE` outside."""
    values = image.astype(np.float32)
    brain = values > 0
    if not brain.any():
        return np.full(values.shape, BACKGROUND_VALUE, np.float32)
    scored = (values - values[brain].mean()) / max(float(values[brain].std()), 1e-6)
    return np.where(brain, scored, np.float32(BACKGROUND_VALUE)).astype(np.float32)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and soft Dice over the batch, as nnU-Net's; logits (B, K, X, Y), target (B, X, Y) of 0..K-1.

    Pixels of `NOT_COUNTED` count in neither.
    """
    counted = (target != NOT_COUNTED)[:, None].float()
    entropy = functional.cross_entropy(logits, target, ignore_index=NOT_COUNTED)
    shares = logits.softmax(dim=1) * counted
    truth = functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1) * counted
    overlap = (shares * truth).sum(dim=(0, 2, 3))[1:]
    size = (shares.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3)))[1:]
    return entropy + 1 - ((2 * overlap + 1) / (size + 1)).mean()


def _load(cases: Sequence[RawCase], ignored: int | None) -> tuple[Tensor, Tensor]:
    """Images float16 (N, C, X, Y) and targets int64-ready int8 (N, X, Y) of all cases, in memory."""
    images = torch.from_numpy(np.stack([read_images(case).astype(np.float16) for case in cases]))
    labels = np.stack([read_plane(case.label)[0] for case in cases]).astype(np.int8)
    if ignored is not None:
        labels[labels == ignored] = NOT_COUNTED
    return images, torch.from_numpy(labels)


def _crops(images: Tensor, targets: Tensor, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A turned, scaled, perhaps flipped crop of each slice: images (B, C, size, size), targets int64 (B, size, size).

    The middle of two thirds of the crops is any brain pixel, of the others one of a label drawn from those present.
    """
    count, _, *shape = images.shape
    frames = np.empty((count, 2, 3), np.float32)
    half = (np.array(shape) - 1) / 2
    for place in range(count):
        middle = (_middle(images[place, 0].numpy(), targets[place].numpy(), rng) - half) / half
        angle, scale = rng.uniform(-ROTATION, ROTATION), rng.uniform(*SCALING)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale * (size / 2)
        # The first axis runs from left to right.
        turn[:, 0] *= rng.choice((-1, 1))
        matrix = turn / half[:, None]
        # grid_sample counts axes from the last.
        frames[place] = np.column_stack([matrix[::-1, ::-1], middle[::-1]])
    grid = functional.affine_grid(torch.from_numpy(frames), [count, 1, size, size], align_corners=False)
    moved = functional.grid_sample(images - BACKGROUND_VALUE, grid, align_corners=True) + BACKGROUND_VALUE
    labels = functional.grid_sample(targets[:, None].float(), grid, mode="nearest", align_corners=True)
    return moved, labels[:, 0].long()


def _middle(image: NDArray[np.float32], target: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int64]:
    present = np.unique(target[target > 0])
    if len(present) and rng.random() < 1 / 3:
        pixels = np.flatnonzero(target == rng.choice(present))
    else:
        pixels = np.flatnonzero(image > BACKGROUND_VALUE)
    if not len(pixels):
        return np.array(image.shape) // 2
    return np.array(np.unravel_index(rng.choice(pixels), image.shape))


def _shaded(images: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Random contrast, gamma and noise inside the brain; images (B, C, X, Y) of z-scores."""
    brain = images > BACKGROUND_VALUE + 0.5
    shape = (*images.shape[:2], 1, 1)
    factor = torch.from_numpy(rng.uniform(*CONTRAST, shape)).float()
    gamma = torch.from_numpy(np.where(rng.random(shape) < 0.3, rng.uniform(*GAMMA, shape), 1.0)).float()
    low, high = BACKGROUND_VALUE, BRIGHTEST
    bent = ((images.clamp(low, high) - low) / (high - low)) ** gamma * (high - low) + low
    strength = torch.from_numpy(rng.uniform(0, NOISE, shape)).float()
    noisy = bent * factor + strength * torch.randn(images.shape, generator=generator)
    return torch.where(brain, noisy, images)
