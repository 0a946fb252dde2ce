"""Attack every entry point with many cases and print what came of it: `python -m tests.fuzz.campaign 10000`."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import torch

from tests.fuzz.harness import attack
from tests.fuzz.material import Material
from tests.fuzz.targets import targets

# Cases of each target, of a hundred: those that cost most get fewest.
SHARES = {
    "style": 10, "labels": 10, "prepare": 1, "table": 10, "folder": 4, "weights": 7, "used_weights": 5,
    "dataset_json": 9, "dataset_files": 9, "task": 7, "slices": 9, "run_folder": 1, "evaluation": 5,
    "drawn_labels": 4, "preview": 4, "codes": 3, "audit_records": 2,
}  # fmt: skip


def main() -> None:
    """Run a campaign."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        material = Material.make(Path(folder) / "material")
        for target in targets(material):
            if options.only and target.name not in options.only.split(","):
                continue
            count = options.cases if options.only else options.cases * SHARES[target.name] // 100
            begun = time.monotonic()
            numbers = range(options.first, options.first + count)
            result = attack(target, numbers, options.seed, Path(folder) / "work")
            print(f"{target.name}: {dict(result.outcomes)} in {time.monotonic() - begun:.0f} s", flush=True)
            for defect in result.defects:
                print("   ", defect[: options.show].replace("\n", "\n      "), flush=True)


if __name__ == "__main__":
    main()
