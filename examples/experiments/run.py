"""The paper's three experiments in small: train segmenters on real and on synthetic slices, test both on real volumes.

    python examples/experiments/run.py 3.1 --slices SLICES --work WORK [--weights WEIGHTS] [--segmenter unet|nnunet]

SLICES is a slice set that `brainspade prepare` made. Results go to WORK/results/. Interrupted, the same command goes
on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# torch's threads spin while they wait, and it reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from arms import EXPERIMENTS, FEW_PATIENTS, Choices, Experiment, experiment
from nnunet import Cut, NnunetSegmenter
from report import results, table
from segmenter import Segmenter
from sets import Workshop
from sheets import agreement, segmentations
from study import run_study, score_study
from unet import UNetSegmenter

from brainspade_cli.console import Reporter
from brainspade_cli.devices import Compute, open_compute
from brainspade_cli.errors import BrainspadeError, InputError
from brainspade_cli.files import write_json, write_text
from brainspade_cli.slices import SliceSet, open_slice_set
from brainspade_cli.weights import open_bundle


@dataclass(frozen=True)
class Plan:
    """A scale. `pairs`: synthetic pairs, and simulated ones; `stride`: every how manieth real slice is trained on.

    `steps`: optimiser steps of a training, by segmenter; `iterations`: of an epoch of nnU-Net.
    """

    pairs: int
    stride: int
    steps: dict[str, int]
    iterations: int
    validation_iterations: int
    cut: Cut | None
    mirror: bool


# `small` is for two cores, `full` is the paper's size and nnU-Net's own settings, for a GPU. Of all arms, domain
# randomisation needs the most steps: with 600 of the U-Net it has hardly learnt more than where tissues lie.
PLANS = {
    "small": Plan(1000, 2, {"unet": 1500, "nnunet": 1000}, 50, 1, Cut(), False),
    "full": Plan(20_000, 1, {"unet": 20_000, "nnunet": 250_000}, 250, 50, None, True),
}

# The datasets of `../train_starter`.
DATASETS = {"healthy": "oasis", "patients": "brats"}


def main(arguments: argparse.Namespace) -> None:
    """Run the experiments that were asked for, one after the other, and print their tables."""
    reporter = Reporter(quiet=arguments.quiet)
    compute = open_compute(arguments.device, arguments.precision)
    slices = open_slice_set(arguments.slices)
    plan = PLANS[arguments.plan]
    bundle = open_bundle(arguments.weights)
    slices.require_split()
    _refuse_seen_people(bundle.config.people.train, slices.person_names("held-out"))
    weights = _digest(bundle.hashes())
    usual = _usual(plan)
    chosen = {name: getattr(arguments, name) for name in usual if getattr(arguments, name) is not None}
    choices = Choices(weights=weights, **{**usual, **chosen})
    _refuse_odd_names(slices, (choices.healthy, choices.patients))
    segmenter = _segmenter(arguments, plan, compute)
    shop = Workshop(arguments.work / "sets", slices, arguments.weights, arguments.device, reporter)
    for name in EXPERIMENTS if arguments.experiment == "all" else (arguments.experiment,):
        wanted = experiment(name, slices, choices)
        arms = _arms(wanted, arguments.arms)
        trainings = run_study(wanted, arms, arguments.trainings, shop, segmenter, arguments.work, choices.seed)
        settings: dict[str, Any] = {
            "segmenter": segmenter.key,
            "device": compute.describe(),
            "weights": bundle.config.name,
            "weights_digest": choices.weights,
            **{key: getattr(choices, key) for key in usual},
        }
        found = results(wanted, score_study(wanted, trainings, slices), trainings, settings)
        kind = _kind(wanted, slices, choices, usual)
        folder = arguments.work / "results" / f"{name}-{segmenter.key}-{choices.weights}{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "results.json", found)
        write_text(folder / "table.md", table(found))
        segmentations(wanted, trainings, slices, folder / "segmentations.png")
        agreement(wanted, trainings, slices, folder / "agreement.png")
        reporter.result(f"{table(found)}\nWritten to {folder}.", found)


def _segmenter(arguments: argparse.Namespace, plan: Plan, compute: Compute) -> Segmenter:
    steps = arguments.steps or plan.steps[arguments.segmenter]
    if arguments.segmenter == "unet":
        return UNetSegmenter(steps=steps, device=compute.device.type)
    if steps % plan.iterations:
        raise InputError(f"nnU-Net trains in epochs of {plan.iterations} steps; {steps} is no multiple of that.")
    return NnunetSegmenter(
        epochs=steps // plan.iterations,
        iterations=plan.iterations,
        validation_iterations=plan.validation_iterations,
        cut=plan.cut,
        mirror=plan.mirror,
        shared=arguments.work / "plans",
        device=compute.device.type,
        bf16=compute.is_cpu and compute.precision == "bf16",
    )


def _arms(wanted: Experiment, text: str | None) -> tuple[str, ...]:
    """The arms to run, in the experiment's order, so that the reference is first wherever it is among them."""
    if text is None:
        return wanted.default
    names = tuple(wanted.arms) if text == "all" else tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in wanted.arms]
    if unknown:
        raise InputError(f"Experiment {wanted.name} has no arm {unknown[0]}; there are {', '.join(wanted.arms)}.")
    return tuple(name for name in wanted.arms if name in names)


def _usual(plan: Plan) -> dict[str, Any]:
    """The choices where nothing is chosen: `results.json` has what is, and the name of its folder what is not usual."""
    return {
        **DATASETS,
        "styles": "training",
        "synthetic_labels": "patients",
        "pairs": plan.pairs,
        "stride": plan.stride,
        "seed": 0,
        "people": None,
        "style_people": None,
    }


def _kind(wanted: Experiment, slices: SliceSet, choices: Choices, usual: dict[str, Any]) -> str:
    """What sets the arms of this experiment apart from those of the usual choices, for the name of its results."""
    unusual = [
        name
        for name, value in usual.items()
        if getattr(choices, name) != value
        # There need be no scans of the usual datasets to compare with.
        and (name in DATASETS or experiment(wanted.name, slices, replace(choices, **{name: value})).arms != wanted.arms)
    ]
    kind = "".join(f"-{name.replace('_', '-')}-{getattr(choices, name)}" for name in unusual)
    return re.sub(r"[^\w.-]", "-", kind)


def _refuse_odd_names(slices: SliceSet, datasets: Collection[str]) -> None:
    """Raise InputError for a scan of the datasets whose name no file of nnU-Net's may have, nor those of its slices."""
    names = [scan.name for scan in slices.scans if scan.dataset in datasets]
    odd = [name for name in names if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", name)]
    if odd:
        raise InputError(
            f"{slices.folder} has a scan called {odd[0]}, and cases are called after scans: give its dataset and"
            " subject names of unaccented letters and digits, in a table for instance, and prepare it again."
        )


def _refuse_seen_people(seen: Collection[str], tested: Collection[str]) -> None:
    both = sorted(set(seen) & set(tested))
    if both:
        raise InputError(
            f"The weights were trained on {', '.join(both)}, who are held out in the slice set; use other weights, or"
            " prepare the scans with these people in training."
        )


def _digest(hashes: dict[str, str]) -> str:
    return hashlib.sha256("".join(f"{name}{value}" for name, value in sorted(hashes.items())).encode()).hexdigest()[:8]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=(*EXPERIMENTS, "all"))
    parser.add_argument("--slices", type=Path, required=True, help="a slice set made by `brainspade prepare`")
    parser.add_argument("--work", type=Path, required=True, help="folder for sets, trainings and results")
    parser.add_argument("--weights", help="a bundle; default: the embedded one")
    parser.add_argument("--segmenter", choices=("nnunet", "unet"), default="nnunet", help="default: nnunet")
    parser.add_argument("--plan", choices=tuple(PLANS), default="small", help="the scale; default: small")
    parser.add_argument(
        "--trainings", type=_count, default=3, help="trainings of each arm, each of its own seed; default: 3"
    )
    parser.add_argument("--arms", help="names, with commas between them, or all; default: the paper's and DR")
    parser.add_argument("--steps", type=_count, help="optimiser steps of every training; default: the plan's")
    parser.add_argument(
        "--pairs", type=_count, help="synthetic pairs of a set, and simulated ones; default: the plan's"
    )
    parser.add_argument("--stride", type=_count, help="every how manieth real slice is trained on; default: the plan's")
    parser.add_argument("--healthy", help="dataset of 3.1, and of the T1s of 3.2; default: oasis")
    parser.add_argument("--patients", help="dataset of 3.3, and of the FLAIRs of 3.2; default: brats")
    parser.add_argument(
        "--styles", choices=("training", "target"), help="3.2 and 3.3: whose scans give the style; default: training"
    )
    parser.add_argument(
        "--synthetic-labels",
        choices=("patients", "healthy"),
        help="3.2: labels drawn for S(FLAIR); default: patients",
    )
    parser.add_argument(
        "--people",
        type=_count,
        help="how many training people there are real labels of, drawn by --seed; default: all healthy ones in 3.1 and"
        f" 3.2, {FEW_PATIENTS} patients in 3.3",
    )
    parser.add_argument(
        "--style-people",
        type=_count,
        help="how many of the people who give the style do, drawn by --seed; default: all",
    )
    parser.add_argument("--seed", type=int, help="default: 0")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of nnU-Net's trainings on a CPU"
    )
    parser.add_argument("--quiet", action="store_true")
    return parser


if __name__ == "__main__":
    try:
        main(_parser().parse_args())
    except BrainspadeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from where it was.\n")
        sys.exit(130)
