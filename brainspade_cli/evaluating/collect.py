"""Everything that is to be known of a set of slices, gathered in one pass that keeps no more than numbers of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.console import Reporter
from brainspade_cli.errors import DatasetError
from brainspade_cli.evaluating.feature_sets import FeatureSet
from brainspade_cli.evaluating.features import FixedFeatures
from brainspade_cli.evaluating.image_statistics import ImageFacts, describe_image
from brainspade_cli.evaluating.label_statistics import LabelTable, describe_label, label_columns
from brainspade_cli.evaluating.slice_source import Slice, SliceSource, evenly
from brainspade_cli.sampling.lanes import Lanes

# Whole images kept for similarity between images, 60 MB at most.
KEPT = 300
OUTSIDE = -4.0


@dataclass(frozen=True)
class ImageTable:
    """One channel of a set, a row an image. `place`: row of its slice in the set's label table; `heights`: mm.

    `contrast`: float64 (images, classes - 1); `histograms`: (images, bins); `agreement`: (images,). `styles`: hash of
    each image's style scan. `kept`: float32 (some, X, Y) standardised, `OUTSIDE` the brain, and the rows they are of.
    """

    place: NDArray[np.int64]
    heights: NDArray[np.float64]
    features: FeatureSet
    contrast: NDArray[np.float64]
    histograms: NDArray[np.float64]
    agreement: NDArray[np.float64]
    styles: tuple[str, ...]
    kept: NDArray[np.float32]
    kept_rows: NDArray[np.int64]


@dataclass(frozen=True)
class Collected:
    """A set of slices in numbers. `labels`: a row for every slice, `counted` saying which of them count as labels.

    `distinct`: how many different labels there are among those that count.
    """

    labels: LabelTable
    counted: NDArray[np.bool_]
    distinct: int
    channels: Mapping[str, ImageTable]
    shape: tuple[int, ...]

    @property
    def label_table(self) -> LabelTable:
        """The slices that count as labels."""
        return self.labels.take(self.counted)


@dataclass(frozen=True)
class _Facts:
    label: list[float]
    digest: bytes
    slice: Slice
    images: dict[str, ImageFacts]


@dataclass
class _Column:
    place: list[int] = field(default_factory=list)
    facts: list[tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], float]] = field(
        default_factory=list
    )
    styles: list[str] = field(default_factory=list)
    kept: list[NDArray[np.float32]] = field(default_factory=list)
    kept_rows: list[int] = field(default_factory=list)


def collect(source: SliceSource, reporter: Reporter, what: str) -> Collected:
    """Read every slice of a source once; raises DatasetError where slices differ in size or a file cannot be read."""
    network = FixedFeatures()
    keep = frozenset(evenly(len(source.readers), KEPT))
    rows: list[list[float]] = []
    people: list[str] = []
    counted: list[bool] = []
    digests: set[bytes] = set()
    columns = {channel: _Column() for channel in source.channels}
    shape: tuple[int, ...] | None = None

    def look(reader: Callable[[], Slice]) -> _Facts:
        found = reader()
        images = {
            channel: describe_image(image, found.label, len(source.names), network)
            for channel, image in found.images.items()
        }
        label = describe_label(found.label if found.maps is None else found.maps, source.names)
        height = np.nan if found.height is None else found.height
        return _Facts([*label, height], hashlib.sha256(found.label.tobytes()).digest(), found, images)

    with Lanes() as lanes, reporter.progress(what, len(source.readers)) as advance:
        for number, facts in enumerate(lanes.in_order(look, source.readers)):
            shape = shape or facts.slice.label.shape
            if facts.slice.label.shape != shape:
                raise DatasetError(
                    f"The slices of {source.description} differ in size; only equal ones can be compared."
                )
            rows.append(facts.label)
            people.append(facts.slice.person)
            counted.append(facts.slice.counts_as_label)
            if facts.slice.counts_as_label:
                digests.add(facts.digest)
            for channel, image in facts.images.items():
                _add(columns[channel], number, facts, channel, image, number in keep)
            advance()
    assert shape is not None
    values = np.array(rows)
    whose, known = _numbered(people)
    return Collected(
        LabelTable(label_columns(source.names), values, whose, known),
        np.array(counted),
        len(digests),
        {channel: _table(column, whose, values[:, -1], shape) for channel, column in columns.items() if column.place},
        shape,
    )


def _add(column: _Column, number: int, facts: _Facts, channel: str, image: ImageFacts, keep: bool) -> None:
    if keep:
        column.kept_rows.append(len(column.place))
        column.kept.append(np.where(image.brain, image.picture, np.float32(OUTSIDE)))
    column.place.append(number)
    column.facts.append((image.features, image.contrast, image.histogram, image.agreement))
    column.styles.append(facts.slice.styles.get(channel, ""))


def _table(
    column: _Column, whose: NDArray[np.int64], heights: NDArray[np.float64], shape: tuple[int, ...]
) -> ImageTable:
    features, contrast, histograms, agreement = zip(*column.facts, strict=True)
    place = np.array(column.place)
    return ImageTable(
        place=place,
        heights=heights[place],
        features=FeatureSet(np.array(features, np.float64), whose[place]),
        contrast=np.array(contrast),
        histograms=np.array(histograms),
        agreement=np.array(agreement),
        styles=tuple(column.styles),
        kept=np.array(column.kept, np.float32).reshape(-1, *shape),
        kept_rows=np.array(column.kept_rows, np.int64),
    )


def _numbered(people: list[str]) -> tuple[NDArray[np.int64], bool]:
    """Whose each slice is; a slice of nobody known is a person of its own."""
    names = [name or f"\0{number}" for number, name in enumerate(people)]
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64), any(people)
