"""Codes of the training slices, which weights may carry so that they can be audited without the slice set.

A code is 128 signs: on which side of 128 fixed planes a slice's descriptor lies, after those directions in which all
people differ alike have been evened out. There is one for every second slice of a scan, without a name, a height or a
modality, and the codes are sorted by their bits: their order tells nothing, and which belong to one scan is not to be
read from it. Copies of a coded slice, and of its neighbours, still share most of the signs.

What a code gives away. Whoever has a slice of a person can test whether it was trained on: that is what an audit is,
and nothing that allows an audit can refuse it. Nobody gets the slice back, for 128 signs are too few. What a linear
decoder, learned on other people, makes of the code of a label agrees with its folds at 4 mm by 0.50, and by 0.55 where
the codes of both neighbours are known to belong to it; the nearest slice of another person agrees by 0.53. With 256
signs it would be 0.68 and 0.73, a blurred portrait. (`examples/audit_recall/decode.py`, starter slice set.)
The directions are no constants: they are built from the covariance of the descriptors of these very slices, and so say
how the coded people differ from each other as a group. Of few people that would say much of each, and so `LEAST_PEOPLE`
are asked for.

    training_codes.safetensors   for KIND in labels, images
        KIND.codes               uint8 (slices, 16): 8 signs a byte, the first in the highest bit
        KIND.directions          float (SIZE, 128): from descriptors to what the signs are taken of
        KIND.between             float (n,): agreement of training slices with the codes of everybody else, rising
        KIND.newcomers           float (n,): the same of held-out people's slices; empty where nobody is held out
        KIND.people              int (2,): how many people, and how many slices, are coded
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from brainspade_cli.auditing.calibration import ONE_IN, threshold
from brainspade_cli.auditing.cuts import LABELS, RealSlices
from brainspade_cli.auditing.descriptors import SIZE, Descriptors
from brainspade_cli.auditing.matching import NO_MATCH
from brainspade_cli.auditing.pool import RealSlice, blocks, fold_block
from brainspade_cli.auditing.scores import SliceScore
from brainspade_cli.auditing.yardstick import Crowd, Yardstick
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, WeightsError
from brainspade_cli.evaluating.slice_source import evenly
from brainspade_cli.sampling.lanes import Lanes

IMAGES = "images"
# Agreements are correlations, but for rounding.
MOST_AGREEMENT = 1.001
SIGNS = 128
# Rotations to look at, in degrees: without folds to lay over each other they have to be met more closely.
CODE_ANGLES = tuple(range(-12, 13, 2))
# One slice in so many is coded.
EVERY = 2
MOST_CALIBRATION = 1000
# Fewer people are given no codes, for the directions are made of what they have in common.
LEAST_PEOPLE = 10
# Codes compared at a time, which bounds the memory of a comparison.
_PIECE = 4096
# How many times as far from the middle as 19 in 20 agreements the threshold lies.
_TAIL = 3.5
# Directions in which people hardly differ are noise; evening out stops at this share of the mean variance, or earlier.
_FLOOR = 0.3


@dataclass(frozen=True)
class TrainingCodes:
    """Codes of one kind of slice. `signs`: float32 (slices, SIGNS), of length 1; `directions`: (SIZE, SIGNS)."""

    signs: Tensor
    directions: Tensor
    yardstick: Yardstick


def similarity(moved: Tensor, signs: Tensor, directions: Tensor) -> Tensor:
    """Agreement (N, slices), -1..1, of descriptors (N, variants, SIZE) with codes, each in its best variant.

    signs: (slices, signs) as `code_signs` makes them along directions (SIZE, signs).
    """
    asked = code_signs(moved.flatten(0, 1), directions)
    pieces = [(asked @ piece.T).view(*moved.shape[:2], -1).amax(1) for piece in signs.split(_PIECE)]
    return torch.cat(pieces, 1)


class CodeJudge:
    """Holds slices of one kind against codes, which do not tell whose slice is repeated, nor know any new people."""

    def __init__(self, kind: str, codes: TrainingCodes, descriptors: Descriptors) -> None:
        self.yardstick = codes.yardstick
        self._kind = kind
        self._codes = codes
        self._descriptors = descriptors

    def score(self, cases: Sequence[str], folds: Tensor) -> list[SliceScore]:
        """Scores of the slices of some cases, whose folds are (N, *FRAME)."""
        best = similarity(self._descriptors.moved(folds), self._codes.signs, self._codes.directions).amax(1)
        # A slice without a brain is described by nothing, and its signs mean nothing.
        best = torch.where(folds.abs().amax((1, 2)) > 0, best, NO_MATCH)
        return [SliceScore(case, self._kind, score) for case, score in zip(cases, best.tolist(), strict=True)]


def code_judges(tensors: Mapping[str, Tensor], kinds: Sequence[str], path: Path) -> dict[str, CodeJudge]:
    """Judges for labels and for channels, which share one, from the tensors of training_codes.safetensors.

    Raises WeightsError where these are not what they should be.
    """
    codes = {name: _unpacked(tensors, name, path) for name in (LABELS, IMAGES) if f"{name}.codes" in tensors}
    descriptors = Descriptors(CODE_ANGLES)
    part = {kind: LABELS if kind == LABELS else IMAGES for kind in kinds}
    return {kind: CodeJudge(kind, codes[name], descriptors) for kind, name in part.items() if name in codes}


def make_codes(real: RealSlices, seed: int, reporter: Reporter) -> dict[str, Tensor]:
    """Tensors of training_codes.safetensors for the training people of a slice set; `seed` turns the directions.

    Labels, or images, of fewer than `LEAST_PEOPLE` people get no codes; raises InputError where neither gets any.
    """
    rng = np.random.default_rng(seed)
    descriptors = Descriptors(CODE_ANGLES)
    tensors: dict[str, Tensor] = {}
    for name in (LABELS, IMAGES):
        training, held_out = ([*real.origins(split, name)] for split in ("train", "held-out"))
        coded = [origin for origin in training if origin.number % EVERY == 0]
        numbers = {person: k for k, person in enumerate(sorted({origin.person for origin in training + held_out}))}
        whose = [origin.person for origin in coded]
        if len(set(whose)) < LEAST_PEOPLE:
            continue
        people = torch.tensor([numbers[person] for person in whose])
        asked = [coded[place] for place in evenly(len(coded), MOST_CALIBRATION)]
        new = [held_out[place] for place in evenly(len(held_out), MOST_CALIBRATION)]
        with reporter.progress(f"codes of {name}", len(coded) + len(asked) + len(new)) as advance:
            described = torch.cat(list(_each(coded, real, descriptors.plain, advance)))
            directions = code_directions(described, SIGNS, rng)
            signs = code_signs(described, directions)
            agreement = partial(similarity, signs=signs, directions=directions)
            between, newcomers = (
                _agreements(part, people, numbers, agreement, real, descriptors, advance) for part in (asked, new)
            )
        tensors[f"{name}.codes"] = packed_codes(signs)
        tensors[f"{name}.directions"] = directions
        tensors[f"{name}.between"] = between
        tensors[f"{name}.newcomers"] = newcomers
        tensors[f"{name}.people"] = torch.tensor([len(set(whose)), len(coded)])
    if not tensors:
        raise InputError(
            f"Codes need slices of {LEAST_PEOPLE} training people at least, for those of fewer would tell too much of"
            " each; audit with --against instead."
        )
    return tensors


def _agreements(
    origins: Sequence[RealSlice],
    people: Tensor,
    numbers: Mapping[str, int],
    agreement: Callable[[Tensor], Tensor],
    real: RealSlices,
    descriptors: Descriptors,
    advance: Callable[[int], None],
) -> Tensor:
    """Agreement of slices with the codes of everybody else, rising, (n,).

    people: (slices,) whose each code is; agreement: `similarity` with these codes.
    """
    best = []
    done = 0
    for moved in _each(origins, real, descriptors.moved, advance):
        whose = torch.tensor([numbers[origin.person] for origin in origins[done : done + len(moved)]])
        own = whose[:, None] == people[None]
        best.append(agreement(moved).masked_fill(own, NO_MATCH).amax(1))
        done += len(moved)
    return torch.cat(best).sort().values if best else torch.zeros(0)


def _each(
    origins: Sequence[RealSlice],
    real: RealSlices,
    describe: Callable[[Tensor], Tensor],
    advance: Callable[[int], None],
) -> Iterator[Tensor]:
    """What `describe` makes of the slices, block by block."""

    def work(block: Sequence[RealSlice]) -> Tensor:
        return describe(fold_block([real.cut(origin) for origin in block]))

    with Lanes() as lanes:
        for found in lanes.in_order(work, blocks(origins)):
            advance(len(found))
            yield found


def code_directions(described: Tensor, signs: int, rng: np.random.Generator) -> Tensor:
    """Directions (SIZE, signs) along which descriptors (N, SIZE) of many people spread evenly, at random otherwise."""
    values, vectors = torch.linalg.eigh(described.T @ described / len(described))
    # Few slices do not show how little people differ along most directions.
    floor = _FLOOR + SIZE / len(described)
    evened = vectors / (values.clamp_min(0) + floor * values.mean()).sqrt()
    turn = np.linalg.qr(rng.standard_normal((SIZE, signs)))[0]
    # As they are stored: signs are those of the rounded directions.
    return (evened @ torch.from_numpy(turn).float()).half().float()


def code_signs(described: Tensor, directions: Tensor) -> Tensor:
    """Signs (N, signs) of descriptors (N, SIZE) along directions (SIZE, signs), scaled to length 1."""
    return torch.where(described @ directions > 0, 1.0, -1.0) / directions.shape[1] ** 0.5


def packed_codes(signs: Tensor) -> Tensor:
    """Signs (N, signs) as bytes (N, signs / 8), sorted, so that they are the same in whichever order they come."""
    packed: NDArray[np.uint8] = np.packbits(signs.numpy() > 0, axis=1)
    return torch.from_numpy(packed[np.lexsort(packed.T[::-1])])


def _unpacked(tensors: Mapping[str, Tensor], name: str, path: Path) -> TrainingCodes:
    """Codes as they are compared; raises WeightsError."""
    wanted = {
        "codes": (torch.uint8, (SIGNS // 8,)),
        "directions": (torch.float32, (SIGNS,)),
        "between": (torch.float32, ()),
        "newcomers": (torch.float32, ()),
        "people": (torch.int64, ()),
    }
    found = {part: tensors.get(f"{name}.{part}") for part in wanted}
    for part, (kind, shape) in wanted.items():
        tensor = found[part]
        if tensor is None or tensor.dtype != kind or tensor.ndim != 1 + len(shape) or tensor.shape[1:] != shape:
            raise WeightsError(f"{path} has no {name}.{part} as it should be; get the weights again.")
    codes, directions, between, newcomers, people = (part for part in found.values() if part is not None)
    agree = bool((torch.cat([between, newcomers]).abs() <= MOST_AGREEMENT).all())
    if (
        len(directions) != SIZE
        or not len(codes)
        or not len(between)
        or len(people) != 2
        or people.min() < 1
        or not agree
    ):
        raise WeightsError(f"{path} has codes of {name} that fit nothing; get the weights again.")
    bits: NDArray[np.uint8] = np.unpackbits(codes.numpy(), axis=1)
    signs = torch.from_numpy(np.where(bits > 0, np.float32(1), np.float32(-1)) / np.float32(SIGNS**0.5))
    scores = (between.double().numpy(), newcomers.double().numpy())
    limit = code_threshold(scores[0], len(signs))
    return TrainingCodes(signs, directions, Yardstick(limit, *scores, Crowd(*people.tolist()), None))


def code_threshold(scores: NDArray[np.float64], codes: int, signs: int = SIGNS) -> float:
    """The agreement with some of so many codes above which a slice counts as a copy.

    From agreements (n,) between different people, as for folds, but further out, for the best of many counts of signs
    has a longer tail than a normal one; and never below what signs without any meaning reach in one slice in `ONE_IN`.
    """
    middle, upper = np.arctanh(np.quantile(scores.clip(-0.99, 0.99), (0.5, 0.95)))
    tail = float(np.tanh(middle + _TAIL * (upper - middle)))
    tries = ONE_IN * codes * 4 * len(CODE_ANGLES)
    return max(threshold(scores), tail, float(stats.norm.isf(1 / tries)) / signs**0.5)
