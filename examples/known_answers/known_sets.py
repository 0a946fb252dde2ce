"""Sets of slices of which it is known how they must rank, made from slices of people, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import NAMES
from brainspade_cli.console import Reporter
from brainspade_cli.evaluating.collect import Collected, collect
from brainspade_cli.evaluating.contrast import tissue_contrast
from brainspade_cli.evaluating.diversity import agreement, distinct_share, similarity
from brainspade_cli.evaluating.fidelity import fidelity
from brainspade_cli.evaluating.label_distance import label_distance
from brainspade_cli.evaluating.slice_source import Slice, SliceSource

SHIFT = 8
FEW = 3


@dataclass(frozen=True)
class Answers:
    """The figures of one set against real people, by name; `verdicts`: whether each lies within their own spread."""

    figures: dict[str, float]
    verdicts: dict[str, bool | None]


def noise(slices: Sequence[Slice]) -> list[Slice]:
    """Every class and every brightness anywhere in the brain."""
    rng = np.random.default_rng(0)

    def change(item: Slice) -> Slice:
        brain = item.label > 0
        label = np.where(brain, rng.integers(1, len(NAMES), brain.shape), 0).astype(np.uint8)
        images = {
            name: np.where(brain, rng.standard_normal(brain.shape), -4.0).astype(np.float32) for name in item.images
        }
        return replace(item, label=label, maps=None, images=images)

    return [change(item) for item in slices]


def collapsed(slices: Sequence[Slice]) -> list[Slice]:
    """A few slices again and again."""
    chosen = np.random.default_rng(0).choice(len(slices), FEW, replace=False)
    return [replace(slices[chosen[place % FEW]], person="") for place in range(len(slices))]


def half_shifted(slices: Sequence[Slice]) -> list[Slice]:
    """Every second label moved sideways; its image stays."""

    def change(item: Slice) -> Slice:
        maps = None if item.maps is None else np.roll(item.maps, SHIFT, axis=1)
        return replace(item, label=np.roll(item.label, SHIFT, axis=0), maps=maps)

    return [change(item) if place % 2 else item for place, item in enumerate(slices)]


def inverted(slices: Sequence[Slice]) -> list[Slice]:
    """What was bright is dark."""

    def change(image: NDArray[Any]) -> NDArray[np.float32]:
        return np.where(image == image[0, 0], -4.0, -image.astype(np.float32))

    return [replace(item, images={name: change(image) for name, image in item.images.items()}) for item in slices]


SETS: dict[str, Callable[[Sequence[Slice]], list[Slice]]] = {
    "real": list,
    "collapsed": collapsed,
    "half shifted": half_shifted,
    "inverted": inverted,
    "noise": noise,
}


def gather(slices: Sequence[Slice], channel: str) -> Collected:
    """The statistics of slices, as `brainspade evaluate` gathers them."""
    readers = [lambda item=item: item for item in slices]
    source = SliceSource(NAMES, (channel,), readers, len(slices), (), "these")
    return collect(source, Reporter(quiet=True), "slices")


def answers(made: Collected, real: Collected, channel: str) -> Answers:
    """All figures of a gathered set against another."""
    labels = label_distance(made.label_table, real.label_table)
    figures = {
        "labels": labels.summary,
        **{f"labels/{name}": item for name, item in labels.families.items()},
        **fidelity(made.channels[channel].features, real.channels[channel].features),
        "similarity": similarity(made.channels[channel], real.channels[channel], 0),
        "agreement": agreement(made.channels[channel], real.channels[channel], 0),
    }
    contrast = tissue_contrast(made, real, channel, NAMES[1:], 0)
    figures["contrast"] = contrast.summary
    return Answers(
        {name: item.value for name, item in figures.items()} | {"distinct": distinct_share(made)},
        {name: item.within for name, item in figures.items()},
    )
