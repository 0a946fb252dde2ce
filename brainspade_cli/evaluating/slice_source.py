"""A set of slices to be evaluated, whichever way it is stored: what it holds, and one reader for each slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Slice:
    """One slice. `label`: uint8 ids (X, Y); `maps`: PV maps (classes, X, Y) of any scale, where there are any.

    `images`: by channel, (X, Y) in any units. `height`: mm, None where not known. `styles`: hash of the style scan of
    each channel, where known. `counts_as_label`: False for slices taken for their images alone.
    """

    label: NDArray[np.uint8]
    maps: NDArray[Any] | None
    images: Mapping[str, NDArray[Any]]
    height: float | None
    person: str
    styles: Mapping[str, str] = field(default_factory=dict)
    counts_as_label: bool = True


@dataclass(frozen=True)
class SliceSource:
    """Slices by their readers, each of which may be called at any time and from any thread.

    `names`: classes by id. `people`: sorted names, empty where slices are of nobody known. `description`: what these
    slices are, for the report; `total`: how many there are in the set, of which `readers` may be a part. `lent`: names
    of others, who give images alone.
    """

    names: tuple[str, ...]
    channels: tuple[str, ...]
    readers: Sequence[Callable[[], Slice]]
    total: int
    people: tuple[str, ...]
    description: str
    lent: tuple[str, ...] = ()


def evenly(count: int, most: int) -> list[int]:
    """Up to `most` of the numbers 0 to count - 1, ascending: one from anywhere in each of as many equal parts.

    The same ones at every call. Not every so manieth: a dataset alternates, pair by pair, between lesion and none.
    """
    if count <= most:
        return list(range(count))
    edges = [place * count // most for place in range(most + 1)]
    return np.random.default_rng(most).integers(edges[:-1], edges[1:]).tolist()
