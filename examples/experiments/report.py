"""What an experiment found, for people and for programs: a table, and the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from arms import Experiment
from scoring import METRICS, Score, paired_p, summarise, table_of
from study import Training

from brainspade_cli.nnunet.tasks import load_task


def results(
    experiment: Experiment, scores: Sequence[Score], trainings: Sequence[Training], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that was measured, as JSON data; what there is too little of to compute is null."""
    arms = list(dict.fromkeys(training.arm for training in trainings))
    labels = list(load_task(experiment.task).groups)
    tables = {metric: table_of(scores, metric) for metric in METRICS}
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "task": experiment.task,
        "reference": experiment.reference,
        "settings": dict(settings),
        "test": sorted({scan.person for scan in experiment.test}),
        "arms": {arm: experiment.meaning[arm] for arm in arms},
        "seconds": {arm: [round(training.seconds) for training in trainings if training.arm == arm] for arm in arms},
        "summary": {
            arm: {
                label: {metric: _plain(asdict(summarise(tables[metric][arm, label]))) for metric in METRICS}
                for label in labels
            }
            for arm in arms
        },
        "p": {
            f"{first} - {second}": {
                label: {
                    metric: _number(paired_p(tables[metric][first, label], tables[metric][second, label]))
                    for metric in METRICS
                }
                for label in labels
            }
            for place, first in enumerate(arms)
            for second in arms[place + 1 :]
        },
        "scores": [_plain(asdict(row)) for row in scores],
    }


def table(found: Mapping[str, Any]) -> str:
    """The numbers of `results` as Markdown."""
    labels = list(next(iter(found["summary"].values())))
    metrics = METRICS if found["task"] == "tumour" else METRICS[:1]
    columns = [(label, metric) for label in labels for metric in metrics]
    reference = found["reference"] if found["reference"] in found["arms"] else None
    heads = [f"{metric} {label}" for label, metric in columns]
    heads += [f"{label} / {reference}" for label in labels] if reference else []
    heads += [f"p {metric} {label}" for label, metric in columns] if reference else []
    lines = [f"### {found['experiment']} {found['title']}", ""]
    lines += [_row(["arm", *heads]), _row(["---"] * (1 + len(heads)))]
    for arm, summary in found["summary"].items():
        cells = [arm, *(_shown(summary[label][metric]) for label, metric in columns)]
        if reference:
            base = found["summary"][reference]
            cells += [_ratio(summary[label]["dice"]["mean"], base[label]["dice"]["mean"]) for label in labels]
            cells += [_p(found["p"], arm, reference, label, metric) for label, metric in columns]
        lines.append(_row(cells))
    lines += ["", *(f"- {arm}: {meaning}." for arm, meaning in found["arms"].items())]
    return "\n".join([*lines, "", _legend(found, reference), ""])


def _legend(found: Mapping[str, Any], reference: str | None) -> str:
    first = next(iter(next(iter(found["summary"].values())).values()))["dice"]
    text = (
        f"Volumes of {first['people']} people in no training, {first['trainings']} training(s) an arm: mean ± SD over"
        " people (SD over trainings)."
    )
    if reference:
        text += f" Ratios are of mean Dice to {reference}; p is two-sided, paired over people, against {reference}."
    if found["task"] == "tissues":
        text += " GM takes in deep GM, WM the brainstem; voxels of tumour and oedema are not scored."
    return text


def _p(tests: Mapping[str, Any], arm: str, reference: str, label: str, metric: str) -> str:
    tested = tests.get(f"{reference} - {arm}") or tests.get(f"{arm} - {reference}")
    value = tested[label][metric] if tested else None
    return "" if value is None else f"{value:.2g}"


def _shown(summary: Mapping[str, Any]) -> str:
    text = f"{summary['mean']:.3f}"
    text += "" if summary["over_people"] is None else f" ± {summary['over_people']:.3f}"
    return text + ("" if summary["over_trainings"] is None else f" ({summary['over_trainings']:.3f})")


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.3f}" if base else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in data.items()}
