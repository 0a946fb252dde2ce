"""What codes of training slices are good for: for an audit, and for somebody who wants the slices back.

    python examples/audit_recall/decode.py SLICES [--signs 64 128 256]

SLICES is a slice set made by `brainspade prepare`. Prints, for labels:

    copies     share of training slices under the disguise "all of these together" above the threshold: of slices that
               have a code, and of those in between
    decoded    agreement at 4 mm of a slice's folds with what ridge regression, learned on five people in six, makes of
               its code; and of its code together with those of its two neighbours
    others     agreement of the same slices with the nearest slice of the other people, to hold these against
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from disguises import DISGUISES, PROMISED, disguised_label, draw
from torch import Tensor

from brainspade_cli.auditing.canonical import rough
from brainspade_cli.auditing.codes import CODE_ANGLES, EVERY, code_directions, code_signs, code_threshold
from brainspade_cli.auditing.cuts import LABELS, RealSlices, cut_label
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.matching import NO_MATCH
from brainspade_cli.auditing.pool import RealSlice, blocks, fold_block
from brainspade_cli.evaluating.slice_source import evenly
from brainspade_cli.slices import open_slice_set

PLANTED = 200
CALIBRATION = 500
RIDGE = 10.0


def main(folder: Path, numbers: Sequence[int]) -> None:
    """Print a row for each number of signs."""
    real = RealSlices(open_slice_set(folder))
    descriptors = Descriptors(CODE_ANGLES)
    rng = np.random.default_rng(0)
    training = real.origins("train", LABELS)
    coded = [origin for origin in training if origin.number % EVERY == 0]
    between = [origin for origin in training if origin.number % EVERY]
    folds = torch.cat([fold_block([real.cut(origin) for origin in block]) for block in blocks(coded)])
    described, seen = descriptors.plain(folds), rough(folds).flatten(1)
    names = sorted({origin.person for origin in coded})
    people = torch.tensor([names.index(origin.person) for origin in coded])
    asked = torch.tensor(evenly(len(coded), CALIBRATION))
    moved = descriptors.moved(folds[asked])
    copies = [_copies(real, descriptors, part, rng) for part in (coded, between)]
    test = people % 6 == 0
    others = (F.normalize(seen[test], dim=1) @ F.normalize(seen[~test], dim=1).T).amax(1).mean()
    print(f"{'signs':>5} {'copies':>16} {'decoded':>16} {'others':>8}")
    for number in numbers:
        directions = code_directions(described, number, rng)
        signs = code_signs(described, directions)
        strangers = _best(moved, directions, signs).masked_fill(people[asked][:, None] == people[None], NO_MATCH)
        limit = code_threshold(strangers.amax(1).double().numpy(), len(signs), number)
        found = [float((_best(part, directions, signs).amax(1) > limit).float().mean()) for part in copies]
        decoded = [_decoded(known, seen, test) for known in (signs, _with_neighbours(signs, people))]
        print(f"{number:>5} {found[0]:>8.1%}{found[1]:>8.1%} {decoded[0]:>8.2f}{decoded[1]:>8.2f} {others:>8.2f}")


def _copies(
    real: RealSlices, descriptors: Descriptors, origins: Sequence[RealSlice], rng: np.random.Generator
) -> Tensor:
    """Descriptors, in every mirror image and rotation, of some slices in disguise."""
    parts = []
    for block in blocks([origins[place] for place in evenly(len(origins), PLANTED)]):
        labels = [np.asarray(real.read(origin), np.uint8) for origin in block]
        drawn = [draw(DISGUISES[PROMISED], label.shape, rng) for label in labels]
        cuts = [cut_label(disguised_label(label, one, rng)) for label, one in zip(labels, drawn, strict=True)]
        parts.append(descriptors.moved(fold_block(cuts)))
    return torch.cat(parts)


def _best(moved: Tensor, directions: Tensor, signs: Tensor) -> Tensor:
    """Agreement (N, codes) in the best variant."""
    return torch.stack([(code_signs(one, directions) @ signs.T).amax(0) for one in moved])


def _with_neighbours(signs: Tensor, people: Tensor) -> Tensor:
    """Each code beside the codes of the slices below and above of the same person, 0 where there is none."""
    same = (people[1:] == people[:-1]).float()[:, None]
    nothing = torch.zeros(1, signs.shape[1])
    return torch.cat([signs, torch.cat([nothing, signs[:-1] * same]), torch.cat([signs[1:] * same, nothing])], 1)


def _decoded(known: Tensor, seen: Tensor, test: Tensor) -> float:
    """Mean agreement of decoded with true folds for the slices to test, the decoder learned on the rest."""
    inner = known[~test].T @ known[~test] + RIDGE * torch.eye(known.shape[1])
    decoder = torch.linalg.solve(inner, known[~test].T @ seen[~test])
    return float(F.cosine_similarity(known[test] @ decoder, seen[test]).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="SLICES")
    parser.add_argument("--signs", type=int, nargs="+", default=[64, 128, 256])
    arguments = parser.parse_args()
    main(arguments.folder, arguments.signs)
