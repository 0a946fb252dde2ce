"""The command that makes a run's pairs again, for run.json and the dataset's card."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from brainspade_cli.sampling.plan import PairPlan

# More scans than these are called SCANS: a command of a thousand names is of no use.
MOST_STYLES = 20


def sample_command(
    styles: Sequence[tuple[str, str]],
    pairs: int,
    plan: PairPlan,
    *,
    weights: tuple[str, str | None] | None,
    labels: bool,
    file_format: str,
    save_pv: bool,
    precision: str,
) -> str:
    """The command line of a run, without its folders, which may name patients, and without what changes no pair.

    styles: (channel, name) of each; `plan` with its step count resolved; weights: source and revision, None for those
    that are installed; labels: whether labels of a folder are painted, which is called LABELS.
    """
    words = ["brainspade", "sample", "--style"]
    if len(styles) > MOST_STYLES:
        words.append("SCANS")
    else:
        words += [name if name == f"@{channel}" else f"{channel}={name}" for channel, name in styles]
    words += ["--n", str(pairs), "--seed", str(plan.seed)]
    words += ["--labels", "LABELS"] if labels else _plan_words(plan)
    words += ["--faint-fraction", repr(plan.faint_fraction)] if plan.tumour or labels else []
    if weights is not None:
        source, revision = weights
        words += ["--weights", source, *(["--revision", revision] if revision else [])]
    words += ["--format", file_format] if file_format != "nifti" else []
    words += ["--save-pv"] if save_pv else []
    return shlex.join([*words, "--precision", precision])


def _plan_words(plan: PairPlan) -> Iterator[str]:
    if plan.tumour:
        yield from ("--tumour", "--tumour-fraction", repr(plan.tumour_fraction))
    yield from ("--sampler", plan.sampler, "--steps", str(plan.steps))
    if plan.guidance != 1:
        yield from ("--guidance", repr(plan.guidance))
