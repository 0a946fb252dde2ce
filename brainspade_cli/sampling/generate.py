"""Weights + styles + seeds -> an iterator of pairs of label and images. No files, no printing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.anatomy import BACKGROUND
from brainspade_cli.bundle import Bundle
from brainspade_cli.devices import Compute
from brainspade_cli.errors import WeightsError
from brainspade_cli.networks.layout import channels_last
from brainspade_cli.sampling.batch_size import BatchSize
from brainspade_cli.sampling.csf_spots import with_fewer_spots
from brainspade_cli.sampling.inference import open_generator
from brainspade_cli.sampling.label_blocks import GeneratedLabels, LabelDraw, LabelSource, StoppedError
from brainspade_cli.sampling.lanes import Lanes
from brainspade_cli.sampling.oedema import mixture, with_contrast
from brainspade_cli.sampling.plan import BLOCK, WIDE_BLOCK, PairPlan
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.pool import StyleChoice, StylePool

# What the networks paint as brain stays this far above the background's value.
MARGIN = 0.01
# A GPU works on one block while threads look through the labels of others. More than two of these only where so many
# bytes of its memory are free for each. Apple's take orders from one thread alone.
LEAST_LANES, MOST_LANES = 2, 4
LANE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Pair:
    """One label and its images.

    `draw`: the label, its PV maps and how they came about. `images`: float32 (channels, 192, 256), z-scored,
    `BACKGROUND_VALUE` outside the brain; `styles`: the style of each; `spot_pixels`: how many pixels of each were
    bright spots in CSF, or too bright beside one, and were made darker (`csf_spots`).
    """

    index: int
    draw: LabelDraw
    images: NDArray[np.float32]
    styles: tuple[StyleChoice, ...]
    spot_pixels: tuple[int, ...]


def generate_pairs(
    bundle: Bundle,
    styles: StylePool,
    plan: PairPlan,
    indices: Iterable[int],
    *,
    compute: Compute,
    batch_size: int | None = None,
    labels: LabelSource | None = None,
    on_notice: Callable[[str], None] = lambda text: None,
) -> Generator[Pair, None, None]:
    """Yield the pairs `indices` (ascending), each a function of (weights, styles, plan, its index) alone.

    Labels come from `labels`, or from the bundle where that is None. A CPU makes a block in each of its lanes, as many
    as it has threads, and paints image by image; an accelerator makes larger blocks, on CUDA two to four at once.
    `batch_size` bounds the memory this takes, None being "auto": the pairs in the making on a CPU, the images painted
    at once on an accelerator. Where memory runs out all the same, fewer labels or images are computed at once from then
    on, and `on_notice` is told. On a CPU no bit of a pair depends on any of this; on an accelerator images do by
    rounding, and so do labels where memory ran out for them. Close the generator to end early: what is under way ends
    within a step of the sampler or an image.

    Raises WeightsError where the bundle lacks what is needed, BrainspadeError where memory does not hold one label or
    one image.
    """
    generated = GeneratedLabels(bundle, plan, compute, on_notice) if labels is None else None
    source = generated or labels
    assert source is not None
    painter = Painter(bundle, compute, batch_size, on_notice)
    size = BLOCK if compute.is_cpu else WIDE_BLOCK

    def make(wanted: Sequence[int]) -> list[Pair]:
        start = wanted[0] // size * size
        members = range(start, start + size)
        drawn = source.draw(members)
        draws = [with_contrast(draw, plan, index) for draw, index in zip(drawn, members, strict=True)]
        choices = [styles.draw(plan.seed, index) for index in members]
        images = painter.paint_block(draws, choices, [index - start for index in wanted])
        return [
            _pair(index, draws[index - start], images[index - start], choices[index - start], plan) for index in wanted
        ]

    blocks = (list(wanted) for _, wanted in groupby(indices, key=lambda index: index // size))
    with Lanes(_lane_count(compute, batch_size)) as lanes:
        try:
            for pairs in lanes.in_order(make, blocks):
                yield from pairs
        finally:
            painter.stop()
            if generated is not None:
                generated.stop()


def _pair(
    index: int, draw: LabelDraw, painted: NDArray[np.float32], styles: tuple[StyleChoice, ...], plan: PairPlan
) -> Pair:
    """What was painted (channels, 192, 256) as a pair."""
    brightest = [choice.source.brightest for choice in styles]
    images, spot_pixels = with_fewer_spots(painted, draw, plan, index, brightest)
    return Pair(index, draw, images, styles, spot_pixels)


class Painter:
    """Stage 2: paints PV maps in styles (paper 2.3)."""

    def __init__(
        self, bundle: Bundle, compute: Compute, batch_size: int | None, on_notice: Callable[[str], None]
    ) -> None:
        self.stopping = threading.Event()
        self.compute = compute
        self.generator = open_generator(bundle, compute)
        config = bundle.config.networks.generator
        size = 1 if compute.is_cpu else batch_size or _affordable_batch(compute.device, max(config.widths[-2:]))
        self.batch = BatchSize(size, "image", "painted", compute, on_notice)

    def paint_block(
        self, draws: Sequence[LabelDraw], choices: Sequence[Sequence[StyleChoice]], wanted: Sequence[int]
    ) -> dict[int, NDArray[np.float32]]:
        """Images (channels, 192, 256) of the members `wanted` (places in the block) of a block, by place.

        The block's images stand in one fixed row, which is cut into batches from its start: who is wanted decides which
        batches run, never what is in one. What is mixed from two images has two places in the row.
        """
        row = [
            (place, channel, share, maps)
            for place, parts in enumerate(map(mixture, draws))
            for channel in range(len(choices[place]))
            for share, maps in parts
        ]
        images = {place: np.zeros((len(choices[place]), *draws[place].label.shape), np.float32) for place in wanted}
        start = 0
        while start < len(row):
            if self.stopping.is_set():
                raise StoppedError
            together = self.batch.size
            batch = row[start : start + together]
            if any(place in images for place, *_ in batch):
                try:
                    painted = self._paint(
                        [maps for *_, maps in batch], [choices[place][channel] for place, channel, *_ in batch]
                    )
                except torch.OutOfMemoryError as error:
                    self.batch.halve(together, error)
                    continue
                for (place, channel, share, _), image in zip(batch, painted, strict=True):
                    if place in images:
                        images[place][channel] += np.float32(share) * image
            start += len(batch)
        for place, image in images.items():
            # A brain value must not look like background.
            np.maximum(image, BACKGROUND_VALUE + MARGIN, out=image)
            image[:, draws[place].label == BACKGROUND] = BACKGROUND_VALUE
        return images

    def stop(self) -> None:
        """End the painting that is under way in other threads, within a batch."""
        self.stopping.set()

    @torch.inference_mode()
    def _paint(self, maps: Sequence[NDArray[np.uint8]], choices: Sequence[StyleChoice]) -> NDArray[np.float32]:
        # Laid out alike wherever the maps come from: other strides would choose other kernels, and other last bits.
        stacked = np.ascontiguousarray(np.stack(maps))
        device = self.compute.device
        # Channels last like the painter's weights, or every convolution of maps would lay them out so anew.
        fractions = channels_last(torch.from_numpy(stacked).to(device).float() / 255)
        codes = torch.stack([choice.code for choice in choices]).to(device)
        painted: Tensor = self.generator(fractions, codes)[:, 0]
        if not painted.sum().isfinite():
            raise WeightsError("These weights painted images that are not numbers; use other weights.")
        images: NDArray[np.float32] = painted.cpu().numpy()
        return images


def _lane_count(compute: Compute, batch_size: int | None) -> int:
    """How many blocks are in the making at once."""
    if not compute.is_cpu:
        return _accelerator_lanes(compute.device)
    threads = torch.get_num_threads()
    return threads if batch_size is None else max(1, min(batch_size // BLOCK, threads))


def _accelerator_lanes(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(LEAST_LANES, min(free // LANE_BYTES, MOST_LANES))


def _affordable_batch(device: torch.device, width: int) -> int:
    """How many images a lane's share of free memory holds; some ten maps of the widest full-size level live at once."""
    if device.type != "cuda":
        return BLOCK
    free, _ = torch.cuda.mem_get_info(device)
    image_bytes = 192 * 256 * 4 * 10 * 3 * width
    return max(1, min(4 * BLOCK, free // _accelerator_lanes(device) // image_bytes))
