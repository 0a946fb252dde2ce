"""The commands that make datasets: sample, export-nnunet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from brainspade_cli.cli_options import (
    Device,
    Json,
    Offline,
    Precision,
    Quiet,
    Revision,
    Seed,
    Weights,
    refuse_idle,
)
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError

# As many as the seven digits of a case's name tell apart.
MOST_PAIRS = 10_000_000


def sample(
    context: typer.Context,
    style: Annotated[
        list[str] | None,
        typer.Option(help="A scan, a folder or a glob; t1=FILE names its channel; @flair takes the weights' own bank."),
    ] = None,
    more_styles: Annotated[list[str] | None, typer.Argument(metavar="[STYLE]...", help="Further styles.")] = None,
    n: Annotated[
        int, typer.Option("--n", "-n", envvar="BRAINSPADE_N", metavar="K", min=1, help="Pairs to make.")
    ] = 100,
    tumour: Annotated[bool, typer.Option("--tumour", help="Draw labels of patients with a brain tumour.")] = False,
    tumour_fraction: Annotated[
        float,
        typer.Option(
            envvar="BRAINSPADE_TUMOUR_FRACTION", metavar="F", min=0, max=1, help="Slices with a lesion, of all."
        ),
    ] = 0.5,
    faint_fraction: Annotated[
        float,
        typer.Option(
            envvar="BRAINSPADE_FAINT_FRACTION", metavar="F", min=0, max=1, help="Oedemas painted fainter, of all."
        ),
    ] = 0.5,
    out: Annotated[
        Path | None,
        typer.Option(envvar="BRAINSPADE_OUT", help="Default: Dataset501_brainspade in $nnUNet_raw or ./nnUNet_raw."),
    ] = None,
    weights: Weights = None,
    revision: Revision = None,
    seed: Seed = 0,
    steps: Annotated[
        int | None,
        typer.Option(metavar="K", min=1, help="Steps of the sampler; with other than its own, auto is unipc."),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            envvar="BRAINSPADE_SAMPLER",
            metavar="NAME",
            help="auto (that of the weights), fitted, unipc, dpm++, ddim or ancestral.",
        ),
    ] = "auto",
    guidance: Annotated[
        float, typer.Option(metavar="F", min=0, help="Classifier-free guidance; above 1 costs twice.")
    ] = 1.0,
    file_format: Annotated[str, typer.Option("--format", metavar="nifti|png")] = "nifti",
    labels: Annotated[Path | None, typer.Option(help="Paint these labels instead of drawing new ones.")] = None,
    save_pv: Annotated[bool, typer.Option("--save-pv", help="Keep the partial-volume maps as well.")] = False,
    batch_size: Annotated[
        str,
        typer.Option(
            envvar="BRAINSPADE_BATCH_SIZE",
            metavar="auto|K",
            help="Bounds the memory: pairs in the making on a CPU (in blocks of 8), images painted at once on a GPU.",
        ),
    ] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            envvar="BRAINSPADE_SHARD", metavar="K/N", help="Part K (from 0) of N. Default: that of an array job."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse a style scan that is thick-sliced, cut, or unlike what the weights saw.",
        ),
    ] = False,
    offline: Offline = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and make nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make paired slices in the contrast of a scan: an nnU-Net raw dataset, ready for training.

    Example:  [bold]brainspade sample --style flair.nii.gz --n 20000 --tumour[/bold]

    Two channels of the same labels:  [bold]brainspade sample --style t1=t1.nii.gz flair=flair.nii.gz --n 20000[/bold]
    """
    from brainspade_cli.sampling.shards import parse_shard, shard_from_environment
    from brainspade_cli.styles.arguments import parse_styles

    if n > MOST_PAIRS:
        raise InputError(
            f"A dataset holds up to {MOST_PAIRS:,} pairs, not {n:,}; make several, each of its own --seed."
        )
    if not tumour:
        refuse_idle(context, "tumour_fraction", "--tumour")
        if labels is None:
            refuse_idle(context, "faint_fraction", "--tumour or --labels")
    if labels is not None:
        for name in ("sampler", "steps", "guidance"):
            refuse_idle(context, name, "--labels left out")
    styles = (*(style or ()), *(more_styles or ()))
    # Before torch is imported, which takes seconds: what is mistyped is told at once.
    parse_styles(styles)
    part = parse_shard(shard) if shard else shard_from_environment(os.environ)
    together = _batch_size(batch_size)
    from brainspade_cli.nnunet.raw import dataset_folder
    from brainspade_cli.sampling.plan import PairPlan
    from brainspade_cli.sampling.run import SampleRequest
    from brainspade_cli.sampling.sample import run_sampling

    reporter = Reporter(quiet=quiet, as_json=as_json)
    request = SampleRequest(
        styles=styles,
        pairs=n,
        folder=out or dataset_folder(501, "brainspade"),
        plan=PairPlan(seed, tumour, tumour_fraction, sampler, steps, guidance, faint_fraction),
        weights=weights,
        revision=revision,
        offline=offline,
        labels=labels,
        file_format=file_format,
        save_pv=save_pv,
        batch_size=together,
        device=device,
        precision=precision,
        shard=part,
        dry_run=dry_run,
        strict=strict,
    )
    summary = run_sampling(request, reporter)
    reporter.result(_sampled(summary), summary)


def export_nnunet(
    datasets: Annotated[list[Path], typer.Argument(help="Datasets made by `brainspade sample`.")],
    dataset_id: Annotated[
        int, typer.Option("--id", metavar="K", min=1, max=999, help="nnU-Net's number of the new dataset.")
    ],
    name: Annotated[str, typer.Option(help="Its name: letters, digits, - and _.")],
    out: Annotated[Path | None, typer.Option(help="Default: $nnUNet_raw or ./nnUNet_raw.")] = None,
    task: Annotated[
        str, typer.Option(metavar="TASK", help="Which labels: all, tissues, tumour, or a JSON file.")
    ] = "all",
    real: Annotated[Path | None, typer.Option(help="A real nnU-Net raw dataset to merge in.")] = None,
    splits: Annotated[
        bool, typer.Option("--splits", help="Write splits_final.json; only real cases validate.")
    ] = False,
    file_format: Annotated[str | None, typer.Option("--format", metavar="nifti|png", help="Default: keep it.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the result as nnU-Net does.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn one or more datasets into an nnU-Net task: labels mapped, merged with real data, split.

    Example:  [bold]brainspade export-nnunet Dataset501_brainspade --id 510 --name tumour --task tumour[/bold]
    """
    from brainspade_cli.nnunet.export import export

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = export(datasets, out, dataset_id, name, task, real, splits, file_format, check, reporter=reporter)
    text = f"{summary['cases']} cases ({summary['real']} real) in {summary['folder']}. Next:\n{summary['next']}"
    reporter.result(text, summary)


def _sampled(summary: dict[str, Any]) -> str:
    """What `sample` did, in words; the last line is the next command to run."""
    if summary["dry_run"]:
        return f"{summary['missing']} pairs to make in {summary['folder']}; nothing was made."
    lines = [f"{summary['made']} pairs made, {summary['there_before']} were there, in {summary['folder']}."]
    if summary["complete"]:
        return "\n".join([*lines, f"Look at {summary['preview']}, then:", summary["next"]])
    return "\n".join([*lines, f"{summary['missing']} pairs of other shards are still missing."])


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit():
        raise InputError(f"--batch-size takes auto or a whole number, not '{text}'.")
    return int(text)
