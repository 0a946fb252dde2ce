"""The paper's three experiments as data: who is trained on, who is tested, and what each arm's segmenter is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sets import (
    PAINTED,
    REAL,
    SIMULATED,
    SIMULATED_ON_SYNTHETIC,
    SYNTHETIC,
    SYNTHETIC_BY_DDIM,
    Recipe,
    mark_of,
)

from brainspade_cli.errors import InputError
from brainspade_cli.sampling.run import PAIRS_VERSION
from brainspade_cli.slices import ScanRecord, SliceSet

EXPERIMENTS = ("3.1", "3.2", "3.3")
# How many patients experiment 3.3 has real labels of, where nothing else is chosen (paper 3.3).
FEW_PATIENTS = 5


@dataclass(frozen=True)
class Choices:
    """What a user may choose. `healthy`, `patients`: datasets of the slice set. `weights`: digest of the weights.

    `styles`: whose scans give the style in experiments 3.2 and 3.3: those of "training" people (all patients in 3.2,
    the five of R in 3.3), or of the "target" people themselves, without their labels. The paper takes scans of the
    target dataset.
    `synthetic_labels`: "patients" or "healthy", the labels drawn for the target style of experiment 3.2.
    `people`: how many training people there are real labels of, drawn by the seed; None for all of them in 3.1 (and the
    T1s of 3.2), `FEW_PATIENTS` in 3.3.
    `style_people`: how many of the people who give the style do, drawn by the seed; None for all of them.
    """

    healthy: str
    patients: str
    styles: str
    synthetic_labels: str
    pairs: int
    stride: int
    seed: int
    weights: str
    people: int | None = None
    style_people: int | None = None


@dataclass(frozen=True)
class Experiment:
    """One experiment. `arms`: name -> the sets that train it, the first one named in full; `default`: which are run.

    `reference`: the arm that the others are compared with. `task`: what is segmented, "tissues" or "tumour".
    """

    name: str
    title: str
    task: str
    channels: tuple[str, ...]
    test: tuple[ScanRecord, ...]
    arms: Mapping[str, tuple[Recipe, ...]]
    default: tuple[str, ...]
    reference: str
    meaning: Mapping[str, str]


def experiment(name: str, slices: SliceSet, choices: Choices) -> Experiment:
    """Build one of the `EXPERIMENTS`; raises InputError where the slice set lacks the people that it needs."""
    if name == "3.1":
        return _in_distribution(slices, choices)
    if name == "3.2":
        return _far_out_of_distribution(slices, choices)
    if name == "3.3":
        return _tumours(slices, choices)
    raise InputError(f"There is no experiment {name}; choose one of {', '.join(EXPERIMENTS)}.")


def _in_distribution(slices: SliceSet, choices: Choices) -> Experiment:
    train = _healthy(slices, choices)
    styles = _styles(train, choices)
    same = _of_some(styles, train, "the same scans")
    arms = _tissue_arms(train, styles, "t1", choices)
    return Experiment(
        name="3.1",
        title="Healthy tissue on T1, in distribution",
        task="tissues",
        channels=("t1",),
        test=_scans(slices, "held-out", choices.healthy, ("t1",)),
        arms={
            "R": (arms["real"],),
            "S": (arms["synthetic"],),
            "H": (arms["synthetic"], arms["real"]),
            "DR": (arms["simulated"],),
            "S-80": (_drawn(SYNTHETIC_BY_DDIM, ("t1",), styles, choices, tumour=False),),
            "RL-painted": (arms["painted"],),
            "SL-DR": (arms["simulated on synthetic"],),
        },
        default=("R", "S", "H", "DR"),
        reference="R",
        meaning={
            "R": f"real T1s of the {_people(train)} training people of {choices.healthy}",
            "S": f"synthetic pairs in the style of {same}",
            "H": "R and S together",
            "DR": "domain randomisation of the labels of R",
            "S-80": "as S, the labels drawn in 80 steps of DDIM",
            "RL-painted": f"the labels of R, painted in the style of {same}",
            "SL-DR": "domain randomisation of the labels of S",
        },
    )


def _far_out_of_distribution(slices: SliceSet, choices: Choices) -> Experiment:
    source = _healthy(slices, choices)
    target = _scans(slices, "train", choices.patients, ("flair",))
    test = _scans(slices, "held-out", choices.patients, ("flair",))
    everyone = test if choices.styles == "target" else target
    styles = _styles(everyone, choices)
    flairs = _of_some(styles, everyone, f"unlabelled FLAIRs of {choices.styles} patients")
    patients = choices.synthetic_labels == "patients"
    painted = _styles(source, choices)
    known = _tissue_arms(source, painted, "t1", choices)
    wanted = _tissue_arms(source, styles, "flair", choices, tumour=patients)
    return Experiment(
        name="3.2",
        title="Healthy tissue on FLAIR, far out of distribution",
        task="tissues",
        channels=("flair",),
        test=test,
        arms={
            "R(target)": (_tissue_arms(target, target, "flair", choices)["real"],),
            "R(T1)": (known["real"],),
            "S(T1)": (known["synthetic"],),
            "S(FLAIR)": (wanted["synthetic"],),
            "DR": (known["simulated"],),
            "RL-painted": (wanted["painted"],),
            "SL-DR": (wanted["simulated on synthetic"],),
        },
        default=("R(target)", "R(T1)", "S(FLAIR)", "DR"),
        reference="R(target)",
        meaning={
            "R(target)": f"real FLAIRs of the {_people(target)} training patients of {choices.patients}",
            "R(T1)": f"real T1s of the {_people(source)} training people of {choices.healthy}, as R of 3.1",
            "S(T1)": f"synthetic pairs in the style of {_of_some(painted, source, 'these T1s')}, as S of 3.1",
            "S(FLAIR)": f"synthetic pairs ({'patients' if patients else 'healthy people'}) in the style of {flairs}",
            "DR": "domain randomisation of the labels of R(T1)",
            "RL-painted": "the labels of R(T1), painted in the style of these FLAIRs",
            "SL-DR": "domain randomisation of the labels of S(FLAIR)",
        },
    )


def _tumours(slices: SliceSet, choices: Choices) -> Experiment:
    channels = ("t1", "flair")
    everyone = _scans(slices, "train", choices.patients, channels, "tumour")
    few = _draw_people(everyone, choices.people or FEW_PATIENTS, choices.seed)
    test = _scans(slices, "held-out", choices.patients, channels, "tumour")
    givers, whose = (test, "unlabelled target scans") if choices.styles == "target" else (few, "the same scans")
    styles = _styles(givers, choices)
    whose = _of_some(styles, givers, whose)
    real = Recipe(REAL, channels, _marks(few))
    synthetic = _drawn(SYNTHETIC, channels, styles, choices, tumour=True)
    return Experiment(
        name="3.3",
        title=f"Whole tumour on T1 and FLAIR, from {_people(few)} real patients",
        task="tumour",
        channels=channels,
        test=test,
        arms={
            "R": (real,),
            "S": (synthetic,),
            "H": (synthetic, real),
            "DR": (_simulated(channels, few, choices),),
            "S-80": (_drawn(SYNTHETIC_BY_DDIM, channels, styles, choices, tumour=True),),
            "DR-all": (_simulated(channels, everyone, choices),),
            "R-all": (Recipe(REAL, channels, _marks(everyone), stride=choices.stride),),
            "RL-painted": (_painted(channels, few, styles, choices),),
            "SL-DR": (_drawn(SIMULATED_ON_SYNTHETIC, channels, styles, choices, tumour=True),),
        },
        default=("R", "S", "H", "DR"),
        reference="R",
        meaning={
            "R": f"T1 and FLAIR of {', '.join(sorted(scan.person for scan in few))}",
            "S": f"synthetic pairs of patients, half of them with a lesion, in the style of {whose}",
            "H": "R and S together",
            "DR": "domain randomisation of the labels of R",
            "S-80": "as S, the labels drawn in 80 steps of DDIM",
            "DR-all": f"domain randomisation of the labels of all {_people(everyone)} training patients",
            "R-all": f"T1 and FLAIR of all {_people(everyone)} training patients",
            "RL-painted": f"the labels of R, painted in the style of {whose}",
            "SL-DR": "domain randomisation of the labels of S",
        },
    )


def _tissue_arms(
    scans: Sequence[ScanRecord], styles: Sequence[ScanRecord], channel: str, choices: Choices, tumour: bool = False
) -> dict[str, Recipe]:
    """The sets of one channel: real slices and labels of `scans`, synthetic ones in the styles of `styles`."""
    channels = (channel,)
    return {
        "real": Recipe(REAL, channels, _marks(scans), stride=choices.stride),
        "synthetic": _drawn(SYNTHETIC, channels, styles, choices, tumour),
        "painted": _painted(channels, scans, styles, choices),
        # No contrast is meant, so that experiments of one channel share the set.
        "simulated": _simulated(("t1",), scans, choices),
        "simulated on synthetic": _drawn(SIMULATED_ON_SYNTHETIC, channels, styles, choices, tumour),
    }


def _drawn(
    kind: str, channels: tuple[str, ...], styles: Sequence[ScanRecord], choices: Choices, tumour: bool
) -> Recipe:
    """Labels drawn by the weights, painted in `styles` or simulated upon."""
    return Recipe(
        kind,
        channels,
        styles=_marks(styles),
        pairs=choices.pairs,
        tumour=tumour,
        seed=choices.seed,
        weights=choices.weights,
        version=PAIRS_VERSION,
    )


def _simulated(channels: tuple[str, ...], scans: Sequence[ScanRecord], choices: Choices) -> Recipe:
    """Domain randomisation of the labels of `scans`."""
    return Recipe(SIMULATED, channels, _marks(scans), pairs=choices.pairs, seed=choices.seed)


def _painted(
    channels: tuple[str, ...], scans: Sequence[ScanRecord], styles: Sequence[ScanRecord], choices: Choices
) -> Recipe:
    """Labels of `scans` painted in `styles`; `sample` takes them in order, so a stride spreads them over the people."""
    stride = max(1, -(-sum(scan.slices for scan in scans) // choices.pairs))
    return Recipe(
        PAINTED,
        channels,
        _marks(scans),
        _marks(styles),
        stride,
        choices.pairs,
        seed=choices.seed,
        weights=choices.weights,
        version=PAIRS_VERSION,
    )


def _scans(
    slices: SliceSet, split: str, dataset: str, modalities: Sequence[str], population: str | None = None
) -> tuple[ScanRecord, ...]:
    """Labelled scans of one split and dataset with these modalities; raises InputError where there are none."""
    found = tuple(
        scan
        for scan in slices.select(split=split, population=population)
        if scan.dataset == dataset and scan.has_labels and set(modalities) <= set(scan.modalities)
    )
    if not found:
        there = ", ".join(sorted({scan.dataset for scan in slices.scans}))
        raise InputError(
            f"{slices.folder} has no labelled {split} scans of dataset {dataset} with {' and '.join(modalities)}"
            f" (its datasets: {there}); its report.tsv says what became of each scan: prepare what is missing, or name"
            " other datasets with --healthy and --patients."
        )
    return found


def _healthy(slices: SliceSet, choices: Choices) -> tuple[ScanRecord, ...]:
    """T1s of the healthy training people, or of some of them."""
    everyone = _scans(slices, "train", choices.healthy, ("t1",))
    return everyone if choices.people is None else _draw_people(everyone, choices.people, choices.seed)


def _styles(scans: Sequence[ScanRecord], choices: Choices) -> tuple[ScanRecord, ...]:
    """Those of the scans that give the style."""
    return tuple(scans) if choices.style_people is None else _draw_people(scans, choices.style_people, choices.seed)


def _of_some(styles: Sequence[ScanRecord], scans: Sequence[ScanRecord], words: str) -> str:
    """`words`, which name `scans`, or who gives the style where these are not all of them."""
    people = sorted({scan.person for scan in styles})
    return words if len(people) == _people(scans) else f"{words}: those of {', '.join(people)}"


def _draw_people(scans: Sequence[ScanRecord], count: int, seed: int) -> tuple[ScanRecord, ...]:
    """Scans of `count` people drawn by the seed, or of all where there are no more."""
    people = sorted({scan.person for scan in scans})
    order = np.random.default_rng(seed).permutation(len(people))
    drawn = {people[place] for place in order[:count]}
    return tuple(scan for scan in scans if scan.person in drawn)


def _marks(scans: Sequence[ScanRecord]) -> tuple[str, ...]:
    return tuple(mark_of(scan) for scan in scans)


def _people(scans: Sequence[ScanRecord]) -> int:
    return len({scan.person for scan in scans})
