"""The command line: each command parses, calls one function and prints one result.

Nothing heavy is imported here: `--help` answers at once, and each command imports what it needs in its own body.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from brainspade_cli import __version__
from brainspade_cli.cli_options import (
    HELP,
    Device,
    Json,
    Offline,
    Out,
    Precision,
    PresetName,
    Quiet,
    Resume,
    Revision,
    Seed,
    SliceFolder,
    StartFrom,
    Weights,
)
from brainspade_cli.cli_weights import weights_app
from brainspade_cli.console import Reporter
from brainspade_cli.errors import BrainspadeError, CheckFailed, InputError, PeerError
from brainspade_cli.stopping import TERMINATED, sigterm_interrupts

INTERRUPTED = 130
# A training's main process and its peers often fail of one cause; torchrun ends the peers while they hold theirs back.
PEER_SECONDS = 10.0
TRAININGS = ("train-labels", "train-images")
KEPT = "what is finished is kept, and the same command goes on from where it was"
KEPT_OF = {
    **dict.fromkeys(TRAININGS, "the last checkpoint is kept, and the same command goes on from it with --resume"),
    **dict.fromkeys(("evaluate", "audit", "preview", "weights"), "nothing is lost, and the same command starts over"),
}

app = typer.Typer(
    name="brainspade",
    no_args_is_help=True,
    context_settings={**HELP, "auto_envvar_prefix": "BRAINSPADE"},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Labelled synthetic brain MRI in the contrast of a scan that you hand over.\n\n"
    "Example:  [bold]brainspade sample --style flair.nii.gz --n 20000 --tumour[/bold]",
)
app.add_typer(weights_app, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"brainspade {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def prepare(
    scans: Annotated[Path, typer.Argument(help="A BIDS-like folder, or a TSV: subject, dataset, and a path per file.")],
    out: Annotated[Path, typer.Argument(help="Folder of the slice set to make or to complete.")],
    register: Annotated[bool, typer.Option(help="Align to MNI152 with ANTs; without, centre the brains.")] = True,
    held_out: Annotated[
        list[str] | None, typer.Option(help="A person to keep out of every training; give it once per person.")
    ] = None,
    jobs: Annotated[int, typer.Option(envvar="BRAINSPADE_JOBS", min=1, help="Scans at a time (3 GB each).")] = 1,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn scans and label maps into a slice set to train on.

    Example:  [bold]brainspade prepare scans/ slices/ --held-out sub-07[/bold]
    """
    from brainspade_cli.preparing.prepare import prepare as run

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = run(scans, out, register=register, held_out=held_out or (), jobs=jobs, reporter=reporter)
    kinds = ("labelled", "style only", "unchanged", "refused")
    counts = ", ".join(f"{summary[kind]} {kind}" for kind in kinds if kind in summary)
    reporter.result(
        f"{summary['scans']} scans: {counts}. Look at {out}/contact-sheet-01.png, then:\n"
        f"brainspade train-labels {out} --out weights/",
        summary,
    )


@app.command()
def train_labels(
    slices: SliceFolder,
    out: Out,
    preset: PresetName = "starter",
    population: Annotated[str, typer.Option(metavar="healthy|tumour|both", help="Which denoisers to train.")] = "both",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each denoiser, in place of the preset's.")] = None,
    start_from: StartFrom = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the label generator: the autoencoder of PV maps and the denoisers of its latents.

    Example:  [bold]brainspade train-labels slices/ --out weights/ --preset starter[/bold]
    """
    from brainspade_cli.presets import preset as named
    from brainspade_cli.training.labels import train_labels as run

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = run(
        slices,
        out,
        named(preset),
        population=population,
        steps=steps,
        resume=resume,
        seed=seed,
        device=device,
        precision=precision,
        reporter=reporter,
        start_from=start_from,
    )
    reporter.result(f"Label networks are in {out}. Next:\nbrainspade train-images {slices} --out {out}", summary)


@app.command()
def train_images(
    slices: SliceFolder,
    out: Out,
    preset: PresetName = "starter",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the generator, in place of the preset's.")] = None,
    perceptual: Annotated[
        str, typer.Option(metavar="auto|vgg19|efficientnet-lite0|self", help="Network behind the perceptual loss.")
    ] = "auto",
    start_from: StartFrom = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the image generator: modality and dataset discriminator, style encoder and SPADE decoder.

    Example:  [bold]brainspade train-images slices/ --out weights/ --preset starter[/bold]
    """
    from brainspade_cli.presets import preset as named
    from brainspade_cli.training.images import train_images as run

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = run(
        slices,
        out,
        named(preset),
        steps=steps,
        resume=resume,
        seed=seed,
        device=device,
        precision=precision,
        reporter=reporter,
        start_from=start_from,
        perceptual=perceptual,
    )
    reporter.result(
        f"Image networks are in {out}. Next:\nbrainspade sample --style flair.nii.gz --n 200 --weights {out}", summary
    )


@app.command()
def sample(
    style: Annotated[
        list[str] | None,
        typer.Option(help="A scan, a folder or a glob; t1=FILE names its channel; @flair takes the weights' own bank."),
    ] = None,
    more_styles: Annotated[list[str] | None, typer.Argument(metavar="[STYLE]...", help="Further styles.")] = None,
    n: Annotated[int, typer.Option("--n", "-n", envvar="BRAINSPADE_N", min=1, help="Pairs to make.")] = 100,
    tumour: Annotated[bool, typer.Option("--tumour", help="Draw labels of patients with a brain tumour.")] = False,
    tumour_fraction: Annotated[
        float, typer.Option(envvar="BRAINSPADE_TUMOUR_FRACTION", min=0, max=1, help="Slices with a lesion, of all.")
    ] = 0.5,
    out: Annotated[
        Path | None,
        typer.Option(envvar="BRAINSPADE_OUT", help="Default: Dataset501_brainspade in $nnUNet_raw or ./nnUNet_raw."),
    ] = None,
    weights: Weights = None,
    revision: Revision = None,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler. Default: the sampler's own.")] = None,
    sampler: Annotated[str, typer.Option(envvar="BRAINSPADE_SAMPLER", metavar="dpm++|unipc|ddim|ancestral")] = "dpm++",
    guidance: Annotated[float, typer.Option(min=0, help="Classifier-free guidance; above 1 costs twice.")] = 1.0,
    file_format: Annotated[str, typer.Option("--format", metavar="nifti|png")] = "nifti",
    labels: Annotated[Path | None, typer.Option(help="Paint these labels instead of drawing new ones.")] = None,
    save_pv: Annotated[bool, typer.Option("--save-pv", help="Keep the partial-volume maps as well.")] = False,
    batch_size: Annotated[
        str, typer.Option(envvar="BRAINSPADE_BATCH_SIZE", metavar="auto|K", help="Images painted together.")
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
        bool, typer.Option("--strict", help="Refuse a style scan that is unlike all that the weights saw.")
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
    from brainspade_cli.nnunet.raw import dataset_folder
    from brainspade_cli.sampling.plan import PairPlan
    from brainspade_cli.sampling.run import SampleRequest
    from brainspade_cli.sampling.sample import run_sampling
    from brainspade_cli.sampling.shards import parse_shard, shard_from_environment

    reporter = Reporter(quiet=quiet, as_json=as_json)
    request = SampleRequest(
        styles=(*(style or ()), *(more_styles or ())),
        pairs=n,
        folder=out or dataset_folder(501, "brainspade"),
        plan=PairPlan(seed, tumour, tumour_fraction, sampler, steps, guidance),
        weights=weights,
        revision=revision,
        offline=offline,
        labels=labels,
        file_format=file_format,
        save_pv=save_pv,
        batch_size=_batch_size(batch_size),
        device=device,
        precision=precision,
        shard=parse_shard(shard) if shard else shard_from_environment(os.environ),
        dry_run=dry_run,
        strict=strict,
    )
    summary = run_sampling(request, reporter)
    reporter.result(_sampled(summary), summary)


@app.command("export-nnunet")
def export_nnunet(
    datasets: Annotated[list[Path], typer.Argument(help="Datasets made by `brainspade sample`.")],
    dataset_id: Annotated[int, typer.Option("--id", min=1, max=999, help="nnU-Net's number of the new dataset.")],
    name: Annotated[str, typer.Option(help="Its name: letters, digits, - and _.")],
    out: Annotated[Path | None, typer.Option(help="Default: $nnUNet_raw or ./nnUNet_raw.")] = None,
    task: Annotated[str, typer.Option(metavar="all|tissues|tumour|FILE", help="Which labels; FILE: a JSON.")] = "all",
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


@app.command()
def evaluate(
    dataset: Annotated[Path, typer.Argument(help="A dataset made by `brainspade sample` or `export-nnunet`.")],
    against: Annotated[
        Path | None, typer.Option(help="Real people: a slice set, or a raw dataset of slices with the same labels.")
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="held-out|train|all", help="Whom of a slice set to compare with.")
    ] = "held-out",
    population: Annotated[
        str, typer.Option(metavar="auto|healthy|tumour|all", help="auto: the one that the dataset was drawn from.")
    ] = "auto",
    style: Annotated[
        list[Path] | None, typer.Option(help="A style scan of the dataset, to compare histograms with.")
    ] = None,
    most: Annotated[int, typer.Option("--max-slices", min=2, help="Slices of each set to look at, at most.")] = 5000,
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


@app.command()
def preview(
    dataset: Annotated[Path, typer.Argument(help="A dataset made by `brainspade sample` or `export-nnunet`.")],
    style: Annotated[
        list[Path] | None, typer.Option(help="A style scan of the dataset, to show beside what was painted after it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The report. Default: brainspade/report.html in the dataset.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make the pictures of a dataset: preview.png anew, and one HTML page to look through or to hand on.

    Example:  [bold]brainspade preview Dataset501_brainspade[/bold]
    """
    from brainspade_cli.reporting.report import make_report

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = make_report(dataset, tuple(style or ()), out, reporter)
    reporter.result(f"Open {summary['report']} in a browser.", summary)


@app.command()
def audit(
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

    reporter = Reporter(quiet=quiet, as_json=as_json)
    report = run(AuditRequest(dataset, against, weights, revision, offline), reporter)
    reporter.result(report_text(report), report)
    if report["verdict"] == "copies":
        raise CheckFailed(f"slices of {dataset} repeat people of the training set; {report['file']} says which.")


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


def main() -> None:
    """Run the command line; the one place where exceptions become exit codes."""
    # torch's OpenMP threads spin while they wait; beside any other process that costs more than the work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # nibabel logs what it thinks of a damaged header; our sentence says it once.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        sys.stderr.write(text)
        sys.stderr.flush()

    with sigterm_interrupts(lambda: "" if said or _is_peer() else _stopped(TERMINATED)) as terminated:
        try:
            app()
        except SystemExit as ended:
            # typer makes an exit of Ctrl-C by itself, without a word.
            code = TERMINATED if terminated and ended.code == INTERRUPTED else ended.code
            if code in (INTERRUPTED, TERMINATED) and not _is_peer():
                say(_stopped(code))
            sys.exit(code)
        except KeyboardInterrupt:  # while typer itself was at work
            code = TERMINATED if terminated else INTERRUPTED
            say(_stopped(code))
            sys.exit(code)
        except BrainspadeError as error:
            if not (_is_peer() and (isinstance(error, PeerError) or _is_ended_with_the_main_process())):
                say(f"error: {error}\n")
            _leave(error.exit_code)
        except OSError as error:
            say(f"error: {error.strerror or error}: {error.filename or 'a file'}; choose another.\n")
            sys.exit(1)
        finally:
            # All is done and said: while Python takes itself down, a signal could only end in a traceback or silently.
            for number in (signal.SIGINT, signal.SIGTERM):
                atexit.register(signal.signal, number, signal.SIG_IGN)


def _stopped(code: int) -> str:
    """What is said of a run that a signal ended."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    what = "stopped by SIGTERM" if code == TERMINATED else "interrupted"
    return f"{what}; {KEPT_OF.get(command, KEPT)}.\n"


def _trains_with_others() -> bool:
    """Whether this is one of several processes of a training, as torchrun starts them."""
    return any(command in sys.argv[1:2] for command in TRAININGS) and os.environ.get("WORLD_SIZE", "1") != "1"


def _is_peer() -> bool:
    """Whether this process leaves the speaking to the main one of its training."""
    return _trains_with_others() and os.environ.get("RANK", "0") != "0"


def _is_ended_with_the_main_process() -> bool:
    """Wait whether torchrun ends this peer, as it soon does where the main process ends."""
    try:
        time.sleep(PEER_SECONDS)
    except KeyboardInterrupt:
        return True
    return False


def _leave(code: int) -> NoReturn:
    """End with an exit code; at once where others depend on it, for taking down what is shared can wait for them."""
    if _trains_with_others():
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
