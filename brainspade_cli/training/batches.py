"""What a training batch is drawn from: tables of slices of the training split, read from a slice set's memory maps.

Drawing only picks rows, from a generator that is handed in; reading only follows them. No held-out person is in any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.anatomy import CHANNELS, MODALITIES
from brainspade_cli.errors import SliceSetError
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS, SLICE_SHAPE, position_fraction
from brainspade_cli.slices import POPULATIONS, ScanRecord, SliceSet


@dataclass(frozen=True)
class Group:
    """Rows of a table that are drawn together: with probability `weight` a draw is uniform over `rows`."""

    weight: float
    rows: Tensor


@dataclass(frozen=True)
class LabelTable:
    """Labelled slices of the training split. Row r is slice `slices[r]` of scan `scans[r]` (a number into `arrays`).

    `conditions` (rows, 3): position 0..1, lesion presence 0/1, lesion load 0..1, as the denoisers take them.
    """

    records: tuple[ScanRecord, ...]
    arrays: tuple[NDArray[np.uint8], ...]
    scans: NDArray[np.int64]
    slices: NDArray[np.int64]
    conditions: Tensor
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return len(self.scans)

    def people(self) -> Tensor:
        """For each row (rows,) the number of the person whose slice it is."""
        numbers = {person: number for number, person in enumerate(sorted({scan.person for scan in self.records}))}
        return torch.tensor([numbers[scan.person] for scan in self.records])[torch.from_numpy(self.scans)]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Rows (count,) of a batch: for each a group by its weight, then a row of it uniformly."""
        return draw_rows(self.groups, count, generator)

    def maps(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """PV maps (B, 8, 192, 256), float32 in 0..1, of the given rows, on the device."""
        stack = np.empty((len(rows), CHANNELS, *SLICE_SHAPE), dtype=np.uint8)
        for place, row in enumerate(rows.tolist()):
            stack[place] = self.arrays[self.scans[row]][self.slices[row]]
        return _shares(stack, [self.records[self.scans[row]] for row in rows.tolist()], device)

    def label(self, row: int) -> NDArray[np.uint8]:
        """The label (192, 256) of a row: the channel with the largest share of each pixel."""
        return self.arrays[self.scans[row]][self.slices[row]].argmax(axis=0).astype(np.uint8)


def label_table(slice_set: SliceSet, population: str, tumour_fraction: float) -> LabelTable:
    """The labelled training slices of one population, with the paper's mix (2.2).

    Healthy: uniform over slices. Tumour: `tumour_fraction` of the draws among slices with 20 or more tumour pixels, the
    rest among slices with none. Raises SliceSetError where the set has none of them.
    """
    return _table(slice_set, ((1.0, population),), tumour_fraction)


def label_table_of_all(slice_set: SliceSet, tumour_fraction: float) -> LabelTable:
    """The labelled training slices of both populations, drawn half and half where there are both."""
    present = [name for name in POPULATIONS if slice_set.labelled(name)]
    if not present:
        raise SliceSetError(f"{slice_set.folder} has no labelled training scan; prepare scans with labels.")
    return _table(slice_set, tuple((1 / len(present), name) for name in present), tumour_fraction)


def draw_rows(groups: Sequence[Group], count: int, generator: torch.Generator) -> Tensor:
    """Rows (count,): for each draw a group by its weight, then one of its rows uniformly."""
    limits = torch.cumsum(torch.tensor([group.weight for group in groups], dtype=torch.float64), dim=0)
    chosen = torch.rand(count, generator=generator, dtype=torch.float64) * limits[-1]
    places = torch.rand(count, generator=generator, dtype=torch.float64)
    rows = torch.empty(count, dtype=torch.long)
    for index, number in enumerate(torch.searchsorted(limits, chosen, right=True).clamp_max(len(groups) - 1).tolist()):
        members = groups[number].rows
        rows[index] = members[int(places[index] * len(members))]
    return rows


def _shares(stack: NDArray[np.uint8], records: Sequence[ScanRecord], device: torch.device | str) -> Tensor:
    """PV maps (B, 8, 192, 256) of bytes as shares of 1; raises SliceSetError where they do not sum to 1."""
    # As bytes to the device: they are a quarter as many.
    maps = torch.from_numpy(stack).to(device).float()
    whole = (maps.sum(dim=1) == 255).flatten(1).all(dim=1)
    if not whole.all():
        _refuse(records[int(whole.int().argmin())], "PV maps that do not sum to 1")
    return maps.div_(255)


def _refuse(record: ScanRecord, what: str) -> NoReturn:
    raise SliceSetError(f"The scan {record.name} of the slice set has {what}; delete its folder and prepare it again.")


def _table(slice_set: SliceSet, shares: tuple[tuple[float, str], ...], tumour_fraction: float) -> LabelTable:
    records: list[ScanRecord] = []
    scans: list[int] = []
    slices: list[int] = []
    conditions: list[tuple[float, float, float]] = []
    groups: list[Group] = []
    for share, population in shares:
        first = len(scans)
        pixels: list[int] = []
        for record in slice_set.labelled(population):
            for index, count in enumerate(record.tumour_pixels):
                present = population == "tumour" and count >= MIN_TUMOUR_PIXELS
                scans.append(len(records))
                slices.append(index)
                pixels.append(count)
                load = record.lesion_load[index] if present else 0.0
                conditions.append((position_fraction(record.positions[index]), float(present), load))
            records.append(record)
        if first == len(scans):
            raise SliceSetError(
                f"{slice_set.folder} has no labelled training scan of the {population} population; prepare some, or "
                "train the other with --population."
            )
        counts = torch.tensor(pixels)
        groups += _groups(population, counts, first, share, tumour_fraction)
    return LabelTable(
        records=tuple(records),
        arrays=tuple(slice_set.labels(record) for record in records),
        scans=np.asarray(scans),
        slices=np.asarray(slices),
        conditions=torch.tensor(conditions, dtype=torch.float32),
        groups=tuple(groups),
    )


def _groups(population: str, pixels: Tensor, first: int, share: float, tumour_fraction: float) -> list[Group]:
    """The groups of one population's rows, which start at row `first`; a group without rows gives its weight away."""
    if population == "healthy":
        return [Group(share, first + torch.arange(len(pixels)))]
    parts = [
        Group(share * tumour_fraction, first + torch.nonzero(pixels >= MIN_TUMOUR_PIXELS).flatten()),
        Group(share * (1 - tumour_fraction), first + torch.nonzero(pixels == 0).flatten()),
    ]
    filled = [part for part in parts if len(part.rows) and part.weight > 0]
    return [Group(share * part.weight / sum(other.weight for other in filled), part.rows) for part in filled]


@dataclass(frozen=True)
class ImageTable:
    """Image slices of the training split. Row r is slice `slices[r]` of `images[r's scan and modality]`.

    `volumes[r]` is a number into `images`, `records` and `classes`; `classes[v]` are the numbers of the volume's
    modality and dataset in `modalities` and `datasets`.
    """

    records: tuple[ScanRecord, ...]
    images: tuple[NDArray[np.float16], ...]
    labels: tuple[NDArray[np.uint8] | None, ...]
    modalities: tuple[str, ...]
    datasets: tuple[str, ...]
    classes: Tensor
    volumes: NDArray[np.int64]
    slices: NDArray[np.int64]
    groups: tuple[Group, ...]
    labelled: tuple[Group, ...]

    def __len__(self) -> int:
        return len(self.volumes)

    def other_slices(self, rows: Tensor, unit: Tensor) -> Tensor:
        """For each row another of the same volume, picked by `unit` (B,) in 0..1; itself where there is no other."""
        others = []
        for row, place in zip(rows.tolist(), unit.tolist(), strict=True):
            count = self.records[self.volumes[row]].slices
            step = 1 + int(place * (count - 1)) if count > 1 else 0
            others.append(row - self.slices[row] + (self.slices[row] + step) % count)
        return torch.tensor(others, dtype=torch.long)

    def read(self, rows: Tensor) -> Tensor:
        """Images (B, 1, 192, 256), float32, z-scored, of the given rows."""
        stack = np.stack([self.images[self.volumes[row]][self.slices[row]] for row in rows.tolist()])
        finite = np.isfinite(stack).all(axis=(1, 2))
        if not finite.all():
            _refuse(self.records[self.volumes[rows[int(finite.argmin())]]], "an image that holds NaN or is infinite")
        return torch.from_numpy(stack.astype(np.float32))[:, None]

    def maps(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """PV maps (B, 8, 192, 256), float32 in 0..1, of rows of labelled scans, on the device."""
        stack = np.empty((len(rows), CHANNELS, *SLICE_SHAPE), dtype=np.uint8)
        for place, row in enumerate(rows.tolist()):
            labels = self.labels[self.volumes[row]]
            assert labels is not None, "content is drawn among labelled scans"
            stack[place] = labels[self.slices[row]]
        return _shares(stack, [self.records[self.volumes[row]] for row in rows.tolist()], device)

    def targets(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Class numbers, modality (B,) and dataset (B,), of the given rows."""
        modality, dataset = self.classes[torch.from_numpy(self.volumes[rows.numpy()])].unbind(dim=1)
        return modality, dataset


def image_table(slice_set: SliceSet) -> ImageTable:
    """The image slices of the training split; raises SliceSetError where it has none.

    Draws are balanced: a modality uniformly, one of its datasets uniformly, one of their slices uniformly. `labelled`
    groups hold the slices that can be content; scans without labels serve the classifier and the style bank alone.
    """
    scans = [scan for scan in slice_set.select() if scan.slices]
    found = {modality for scan in scans for modality in scan.modalities}
    modalities = tuple(sorted(found, key=lambda name: (_known(name), name)))
    datasets = tuple(sorted({scan.dataset for scan in scans if scan.modalities}))
    if not modalities:
        raise SliceSetError(f"{slice_set.folder} has no training image; prepare scans with images.")
    pairs = [(scan, modality) for scan in scans for modality in scan.modalities]
    counts = [scan.slices for scan, _ in pairs]
    volumes = np.repeat(np.arange(len(pairs)), counts)
    classes = torch.tensor([[modalities.index(name), datasets.index(scan.dataset)] for scan, name in pairs])
    has_labels = torch.tensor([scan.has_labels for scan, _ in pairs])
    per_row = torch.from_numpy(volumes)
    every = torch.ones(len(volumes), dtype=torch.bool)
    return ImageTable(
        records=tuple(scan for scan, _ in pairs),
        images=tuple(slice_set.images(scan, name) for scan, name in pairs),
        labels=tuple(slice_set.labels(scan) if scan.has_labels else None for scan, _ in pairs),
        modalities=modalities,
        datasets=datasets,
        classes=classes,
        volumes=volumes,
        slices=np.concatenate([np.arange(count) for count in counts]),
        groups=_balanced(classes[per_row], every),
        labelled=_balanced(classes[per_row], has_labels[per_row]),
    )


def _known(modality: str) -> int:
    """Place of a modality in the project's list; names that are not in it come after."""
    return MODALITIES.index(modality) if modality in MODALITIES else len(MODALITIES)


def _balanced(classes: Tensor, eligible: Tensor) -> tuple[Group, ...]:
    """One group for each pair of modality and dataset among the eligible rows, as `classes` (rows, 2) names them."""
    cells: dict[int, list[Tensor]] = {}
    for modality, dataset in torch.unique(classes[eligible], dim=0).tolist():
        inside = eligible & (classes[:, 0] == modality) & (classes[:, 1] == dataset)
        cells.setdefault(modality, []).append(torch.nonzero(inside).flatten())
    return tuple(Group(1 / (len(cells) * len(parts)), rows) for parts in cells.values() for rows in parts)
