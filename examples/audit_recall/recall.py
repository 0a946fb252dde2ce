"""How well `brainspade audit` tells copies from new people: planted training slices, and slices of held-out people.

    python examples/audit_recall/recall.py SLICES [--slices 400] [--seed 0] [--json FILE]

SLICES is a slice set made by `brainspade prepare` with people held out. Prints, for each disguise, the share of planted
training slices that are flagged as copies, and the share of held-out people's slices, under the same disguise, that are
flagged though they cannot be copies. For these, the audit's second condition (nearer to a training than to a held-out
person) is left out, since they are held out themselves: the audit flags no more than that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from disguises import DISGUISES, Disguise, disguised_image, disguised_label, draw
from torch import Tensor

from brainspade_cli.auditing.cuts import LABELS, RealSlices, cut_image, cut_label
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.people import PeopleJudge, people_judges
from brainspade_cli.auditing.pool import RealSlice, blocks, fold_block
from brainspade_cli.auditing.report import limits
from brainspade_cli.console import Reporter
from brainspade_cli.evaluating.slice_source import evenly
from brainspade_cli.slices import open_slice_set


def main(folder: Path, slices: int, seed: int, out: Path | None) -> None:
    """Print the table, and write it to `out`."""
    real = RealSlices(opened := open_slice_set(folder))
    modalities = sorted({name for scan in opened.select(split="train") for name in scan.modalities})
    kinds = [LABELS, *modalities]
    judges = people_judges(real, folder, kinds, Descriptors(), Reporter())
    limit = limits({kind: judge.yardstick for kind, judge in judges.items()})
    print("thresholds:", ", ".join(f"{kind} {limit[kind]:.3f}" for kind in judges))
    print(f"{'':<34}" + "".join(f"{kind:>20}" for kind in judges))
    print(f"{'':<34}" + "     recall   alarms" * len(judges))
    table = {}
    for name, disguise in DISGUISES.items():
        table[name] = {
            kind: _row(real, kind, judge, disguise, slices, seed, limit[kind]) for kind, judge in judges.items()
        }
        print(f"{name:<34}" + "".join(f"{row['recall']:>11.1%}{row['alarms']:>9.2%}" for row in table[name].values()))
    if out is not None:
        out.write_text(json.dumps({"thresholds": limit, "slices": slices, "table": table}, indent=1) + "\n")


def _row(
    real: RealSlices, kind: str, judge: PeopleJudge, disguise: Disguise, slices: int, seed: int, limit: float
) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    found = {}
    for name, split in (("recall", "train"), ("alarms", "held-out")):
        origins = real.origins(split, kind)
        chosen = [origins[place] for place in evenly(len(origins), slices)]
        scores = [
            score
            for block in blocks(chosen)
            for score in judge.score([""] * len(block), _folds(real, block, disguise, rng))
        ]
        caught = [score.is_copy(limit) if split == "train" else score.training > limit for score in scores]
        found[name] = float(np.mean(caught))
        found[f"{name}_slices"] = len(caught)
        found[f"{name}_lowest" if split == "train" else f"{name}_highest"] = (min if split == "train" else max)(
            score.training for score in scores
        )
    return found


def _folds(real: RealSlices, block: Sequence[RealSlice], disguise: Disguise, rng: np.random.Generator) -> Tensor:
    cuts = []
    for origin in block:
        found = real.read(origin)
        drawn = draw(disguise, found.shape, rng)
        if origin.what == LABELS:
            cuts.append(cut_label(disguised_label(found, drawn, rng)))
        else:
            cuts.append(cut_image(disguised_image(found, drawn, rng)))
    return fold_block(cuts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="SLICES")
    parser.add_argument("--slices", type=int, default=400, help="planted, and held out, for each disguise and kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the table to a file as well")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.slices, arguments.seed, arguments.json)
