"""Slices of synthetic people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainspade_cli.evaluating.slice_source import Slice
from tests.conftest import brain_maps, paint, to_bytes


def phantom_people(numbers: Sequence[int], slices: int = 8, channel: str = "t1") -> list[Slice]:
    """Slices of synthetic people, each with its own size of head and every second one with a tumour."""
    found = []
    for number in numbers:
        generator = np.random.default_rng(number)
        heights = np.linspace(-30, 40, slices)
        maps = np.stack([brain_maps(generator, height, tumour=number % 2 == 1) for height in heights])
        images = paint(maps, maps[:, 0] < 0.5, channel, generator)
        for k in range(slices):
            stored = to_bytes(maps[k : k + 1])[0]
            label = stored.argmax(axis=0).astype(np.uint8)
            found.append(Slice(label, stored, {channel: images[k]}, float(heights[k]), f"person-{number}"))
    return found
