"""The report of an audit: brainspade/audit.json, a table of every slice beside it, and pictures of what was flagged.

DATASET/brainspade/audit.json
    format, brainspade    1, and the version that wrote it
    dataset, pairs        folder's name, and how many made cases were looked at
    against               name: of the slice set or the weights; what: "slices" or "weights"
    verdict               "copies" where anything is flagged, else "pass"
    audited, not_audited  lists of "labels" and channels: the verdict is of the former alone
    labels, images        as below; null where there was nothing to compare (a note says why)
    notes                 sentences that a reader should know before believing the figures
    slices                "audit-slices.tsv"
labels, images:
    threshold             agreement, -1..1, above which a slice counts as a copy; of several channels the highest
    looked_at             slices scored (images: of all channels)
    training, held_out    {"people", "slices"}: of whom; held_out null where nobody is held out. Images: the most
                          that a channel was held against
    flagged               list, highest score first, of
        case              name of the case
        channel           images alone: name of the channel
        score             agreement with the training slice
        training          {"scan", "what", "slice", "position_mm"}: the slice that is repeated, "what" being
                          "labels" or a modality; null in an audit against weights, which do not know it
        held_out          agreement with the nearest slice of a held-out person; null where nobody is held out
        picture           file name below brainspade/audit/; null beyond the first `MOST_PICTURES`, and against
                          weights
    false_alarm_rate      share of slices of real people, who cannot be copies, above the threshold
    false_alarms          {"alarms", "slices", "of"}: counted among which slices, "held-out people" or, where nobody
                          is held out, "training people"
    scores                by name, {"slices", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "highest"} or null:
        generated_training    made slices with the nearest training slice
        generated_held_out    made slices with the nearest slice of a held-out person
        people_training       training slices with the nearest training slice of ANOTHER person
        held_out_training     slices of held-out people with the nearest training slice
    nearer_training       {"share": of the made slices that agree more with a training person than with any held-out
                          one, "expected": share of training people among all}; null where nobody is held out
DATASET/brainspade/audit-slices.tsv
    case, kind ("labels" or a channel), training, training_slice, held_out, held_out_slice, flagged (0 or 1)
    characters that do not print are replaced by "?"
DATASET/brainspade/audit/NUMBER.png
    the slice made, the training slice, and the training slice laid over the one made. These are slices of patients:
    the folder is to be removed before the dataset is handed on

audit.json is written last, and an audit takes the place of an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainspade_cli.auditing.calibration import summary
from brainspade_cli.auditing.cuts import LABELS
from brainspade_cli.auditing.pool import RealSlice
from brainspade_cli.auditing.scores import SliceScore
from brainspade_cli.auditing.yardstick import Crowd, Yardstick
from brainspade_cli.files import write_text

FORMAT = 1
MOST_PICTURES = 50
REPORT = "audit.json"
TABLE = "audit-slices.tsv"
PICTURES = "audit"
_COLUMNS = ("case", "kind", "training", "training_slice", "held_out", "held_out_slice", "flagged")

Pictures = Mapping[tuple[str, str], str]


def limits(yardsticks: Mapping[str, Yardstick]) -> dict[str, float]:
    """The threshold of each kind: labels have their own, all channels the highest of theirs."""
    channels = [item.threshold for kind, item in yardsticks.items() if kind != LABELS]
    return {kind: round(item.threshold if kind == LABELS else max(channels), 4) for kind, item in yardsticks.items()}


def flagged(scores: Sequence[SliceScore], limit: Mapping[str, float]) -> list[SliceScore]:
    """The copies among the scores, the clearest first."""
    copies = [score for score in scores if score.is_copy(limit[score.kind])]
    return sorted(copies, key=lambda score: -score.training)


def section(
    scores: Sequence[SliceScore], yardsticks: Sequence[Yardstick], threshold: float, pictures: Pictures
) -> dict[str, Any]:
    """The labels' or the images' part of the report; see above."""
    alarms, slices = np.sum([item.alarms(threshold) for item in yardsticks], axis=0).tolist()
    training = max((item.training for item in yardsticks), key=lambda crowd: crowd.slices)
    new = [item.held_out for item in yardsticks if item.held_out is not None]
    held_out = max(new, key=lambda crowd: crowd.slices, default=None)
    copies = flagged(scores, {score.kind: threshold for score in scores})
    known = [score for score in scores if score.held_out is not None]
    return {
        "threshold": threshold,
        "looked_at": len(scores),
        "training": _crowd(training),
        "held_out": _crowd(held_out),
        "flagged": [_flag(score, pictures) for score in copies],
        "false_alarm_rate": alarms / slices,
        "false_alarms": {
            "alarms": alarms,
            "slices": slices,
            "of": "held-out people" if any(len(item.newcomers) for item in yardsticks) else "training people",
        },
        "scores": {
            "generated_training": summary(np.array([score.training for score in scores])),
            "generated_held_out": summary(np.array([score.held_out for score in known], np.float64)),
            "people_training": summary(np.concatenate([item.between for item in yardsticks])),
            "held_out_training": summary(np.concatenate([item.newcomers for item in yardsticks])),
        },
        "nearer_training": None
        if held_out is None or not known
        else {
            "share": sum(score.training > (score.held_out or 0) for score in known) / len(known),
            "expected": training.people / (training.people + held_out.people),
        },
    }


def _crowd(crowd: Crowd | None) -> dict[str, int] | None:
    return None if crowd is None else {"people": crowd.people, "slices": crowd.slices}


def _flag(score: SliceScore, pictures: Pictures) -> dict[str, Any]:
    return {
        "case": score.case,
        **({} if score.kind == LABELS else {"channel": score.kind}),
        "score": round(score.training, 4),
        "training": _origin(score.origin),
        "held_out": None if score.held_out is None else round(score.held_out, 4),
        "picture": pictures.get((score.case, score.kind)),
    }


def _origin(origin: RealSlice | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {"scan": origin.scan, "what": origin.what, "slice": origin.number, "position_mm": origin.height}


def write_table(path: Path, scores: Sequence[SliceScore], limit: Mapping[str, float]) -> None:
    """Write a row for every slice."""
    rows = [
        (
            score.case,
            score.kind,
            f"{score.training:.4f}",
            "" if score.origin is None else score.origin.name,
            "" if score.held_out is None else f"{score.held_out:.4f}",
            "" if score.held_out_origin is None else score.held_out_origin.name,
            str(int(score.is_copy(limit[score.kind]))),
        )
        for score in scores
    ]
    write_text(path, "".join("\t".join(map(printable, row)) + "\n" for row in (_COLUMNS, *rows)))


def printable(text: str) -> str:
    """The text on one line: names out of files may hold tabs, line ends, and codes that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
