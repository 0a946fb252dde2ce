"""The commands that look at a dataset: evaluate, preview, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainspade_cli.cli_options import (
    Json,
    Offline,
    Quiet,
    Revision,
    Seed,
    Weights,
    refuse_idle,
    was_typed,
)
from brainspade_cli.console import Reporter
from brainspade_cli.errors import CheckFailed


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="A dataset made by `brainspade sample` or `export-nnunet`.")],
    against: Annotated[
        Path | None, typer.Option(help="Real people: a slice set, or a raw dataset of slices with the same labels.")
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Whom of a slice set to compare with: held-out, train or all.")
    ] = "held-out",
    population: Annotated[
        str, typer.Option(metavar="NAME", help="healthy, tumour, all, or auto: that which the dataset was drawn from.")
    ] = "auto",
    style: Annotated[
        list[Path] | None, typer.Option(help="A style scan of the dataset, to compare histograms with.")
    ] = None,
    most: Annotated[
        int, typer.Option("--max-slices", metavar="K", min=2, help="Slices of each set to look at, at most.")
    ] = 5000,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="The report. Default: brainspade/evaluation.json in the dataset.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure a dataset: labels, images, contrast, diversity and balance, held against real people.

    Every figure comes with an interval and with its value between two halves of the real people.

    Example:  [bold]brainspade evaluate Dataset501_brainspade --against slices/[/bold]
    """
    from brainspade_cli.evaluating.evaluate import EvaluationRequest
    from brainspade_cli.evaluating.evaluate import evaluate as run
    from brainspade_cli.evaluating.report_text import report_text

    reporter = Reporter(quiet=quiet, as_json=as_json)
    request = EvaluationRequest(dataset, against, split, population, tuple(style or ()), most, seed, out)
    report = run(request, reporter)
    reporter.result(report_text(report), report)


def preview(
    dataset: Annotated[Path, typer.Argument(help="A dataset made by `brainspade sample` or `export-nnunet`.")],
    style: Annotated[
        list[Path] | None, typer.Option(help="A style scan of the dataset, to show beside what was painted after it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The report. Default: brainspade/report.html in the dataset.")
    ] = None,
    with_pairs: Annotated[
        bool, typer.Option("--with-pairs", help="Show what the audit flagged beside the patients' slices it repeats.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make one HTML page of a dataset, to look through or to hand on, and preview.png where there is none.

    Example:  [bold]brainspade preview Dataset501_brainspade[/bold]
    """
    from brainspade_cli.reporting.report import make_report

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = make_report(dataset, tuple(style or ()), out, reporter, with_pairs=with_pairs)
    reporter.result(f"Open {summary['report']} in a browser.", summary)


def audit(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="A dataset made by `brainspade sample` or `export-nnunet`.")],
    against: Annotated[
        Path | None,
        typer.Option(help="The slice set that the weights were trained on. Default: the codes that weights carry."),
    ] = None,
    weights: Weights = None,
    revision: Revision = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look for copies: does a label or an image repeat a slice of a training person, however turned or recoloured?

    Ends with exit code 3 where it does; the pairs are shown side by side in brainspade/audit/ in the dataset.

    Example:  [bold]brainspade audit Dataset501_brainspade --against slices/[/bold]
    """
    from brainspade_cli.auditing.audit import AuditRequest
    from brainspade_cli.auditing.audit import audit as run
    from brainspade_cli.auditing.report_text import report_text

    if against is not None:
        for name in ("revision", "offline"):
            refuse_idle(context, name, "--against left out")
        weights = weights if was_typed(context, "weights") else None
    reporter = Reporter(quiet=quiet, as_json=as_json)
    report = run(AuditRequest(dataset, against, weights, revision, offline), reporter)
    reporter.result(report_text(report), report)
    if report["verdict"] == "copies":
        raise CheckFailed(f"slices of {dataset} repeat people of the training set; {report['file']} says which.")
