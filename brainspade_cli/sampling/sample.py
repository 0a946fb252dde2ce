"""The run behind `brainspade sample`: pairs into an nnU-Net raw dataset, that can be cut off anywhere and goes on."""

from __future__ import annotations

import shlex
import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from brainspade_cli import __version__
from brainspade_cli.anatomy import LABELS
from brainspade_cli.console import Reporter
from brainspade_cli.files import disk_errors
from brainspade_cli.nnunet.raw import (
    dataset_number,
    flush_names,
    free_number,
    plan_command,
    refuse_shared_id,
    write_dataset_json,
)
from brainspade_cli.reporting.facts import DatasetFacts, RowCounts, run_facts
from brainspade_cli.reporting.verdicts import remove_verdicts
from brainspade_cli.reporting.write_cards import card_paths, write_cards
from brainspade_cli.sampling.case_writer import CaseWriter
from brainspade_cli.sampling.generate import generate_pairs
from brainspade_cli.sampling.manifest import Manifest, manifest_path, remove_leftovers, rows, tidy
from brainspade_cli.sampling.run import SampleRequest, SampleRun, open_run
from brainspade_cli.sampling.run_folder import (
    at_work,
    begin_run,
    check_settings,
    remove_old_records,
    write_run,
)
from brainspade_cli.sampling.run_preview import write_preview

# Measured on generated brains: a compressed image, label, and the PV maps.
IMAGE_BYTES = 22_000
LABEL_BYTES = 4_000
PV_BYTES = 40_000


def run_sampling(request: SampleRequest, reporter: Reporter) -> dict[str, Any]:
    """Make what is missing of this shard's pairs; finish the dataset when all pairs of all shards are there.

    Returns a summary: folder, channels, pairs asked for, made now, there before, redrawn, flagged, complete or not, and
    the next command to run. Raises InputError and its kin for what cannot be used, DatasetError where the folder holds
    something else or another run is at work in it, BrainspadeError where the disk or memory gives out.
    """
    folder = request.folder.expanduser()
    if not folder.exists():
        name = folder.name.partition("_")[2]
        refuse_shared_id(folder, lambda free: f"--out {shlex.quote(str(folder.parent / f'Dataset{free:03d}_{name}'))}")
    run = open_run(request, reporter)
    if run.begun is not None:
        check_settings(run.layout, run.begun, run.settings, request.pairs)
    if request.dry_run:
        return _plan_only(run, reporter)
    with disk_errors(run.layout.folder):
        run.layout.create()
        with at_work(run.layout, request.shard):
            begin_run(run.layout, run.settings, request.pairs, run.record())
            return _fill(run, reporter)


def _plan_only(run: SampleRun, reporter: Reporter) -> dict[str, Any]:
    own = run.own
    missing = len(own) - int(run.made()[own.start : own.stop].sum())
    size = missing * _pair_bytes(run)
    draws = run.labels is None
    how = f" with the sampler {run.plan.sampler} in {run.plan.steps} steps" if draws else ""
    reporter.say(
        f"Would make {missing} of {len(own)} pairs ({', '.join(run.channels)}) in {run.layout.folder}, about "
        f"{_readable(size)}, on {run.compute.describe()}{how}."
    )
    return {
        "dry_run": True,
        "folder": str(run.layout.folder),
        "channels": list(run.channels),
        "pairs": run.request.pairs,
        "shard": str(run.request.shard),
        "missing": missing,
        "bytes": size,
        "device": run.compute.describe(),
        "precision": run.compute.precision,
        "sampler": run.plan.sampler if draws else None,
        "steps": run.plan.steps if draws else None,
    }


def _fill(run: SampleRun, reporter: Reporter) -> dict[str, Any]:
    """Make this shard's missing pairs, then finish the dataset if no shard misses any."""
    layout, own = run.layout, run.own
    remove_leftovers(layout, own)
    made = run.made()
    missing = [index for index in own if not made[index]]
    if missing:
        # A dataset.json that counts fewer cases than there are would be wrong while the run goes on.
        for path in (layout.header, *card_paths(layout.folder)):
            path.unlink(missing_ok=True)
        remove_verdicts(layout, reporter)
        _warn_of_space(run, len(missing), reporter)
    if missing and len(missing) < len(own):
        reporter.say(f"{len(own) - len(missing)} of {len(own)} pairs are there already; going on with the rest.")
    started = time.monotonic()
    try:
        written, redrawn, flagged = _make(run, missing, len(own), reporter)
    except KeyboardInterrupt:
        reporter.say(f"{int(run.made()[own.start : own.stop].sum())} of {len(own)} pairs are finished and kept.")
        raise
    seconds = time.monotonic() - started
    left = run.request.pairs - int(run.made().sum())
    if left == 0:
        _finish(run)
    if flagged:
        reporter.warn(
            f"{flagged} labels failed their checks at every attempt and were kept; the manifest names their problems."
        )
    return {
        "dry_run": False,
        "folder": str(layout.folder),
        "channels": list(run.channels),
        "pairs": run.request.pairs,
        "shard": str(run.request.shard),
        "made": written,
        "there_before": len(own) - len(missing),
        "missing": left,
        "redrawn": redrawn,
        "flagged": flagged,
        "seconds": round(seconds, 1),
        "complete": left == 0,
        "preview": str(layout.provenance / "preview.png") if left == 0 else None,
        "next": _next_command(run) if left == 0 else None,
    }


def _make(run: SampleRun, missing: list[int], total: int, reporter: Reporter) -> tuple[int, int, int]:
    """Make pairs and write them; returns how many, how many labels were drawn again, and how many still fail."""
    if not missing:
        return 0, 0, 0
    redrawn = flagged = 0
    request, layout = run.request, run.layout
    with (
        Manifest(manifest_path(layout, request.shard)) as manifest,
        CaseWriter(layout, manifest, run.plan.seed, request.save_pv, run.compute.device.type) as writer,
        reporter.progress("pairs", total, total - len(missing)) as advance,
        closing(
            generate_pairs(
                run.bundle,
                run.styles,
                run.plan,
                missing,
                compute=run.compute,
                batch_size=request.batch_size,
                labels=run.labels,
                on_notice=reporter.warn,
            )
        ) as pairs,
    ):
        for pair in pairs:
            writer.write(pair)
            redrawn += pair.draw.attempts - 1
            flagged += bool(pair.draw.problems)
            advance(1, f"{redrawn} redrawn" if redrawn else "")
    return writer.written, redrawn, flagged


def _finish(run: SampleRun) -> None:
    """Write what only a whole dataset has. Any shard may do so, even two at once: they write the same."""
    tidy(run.layout, run.request.pairs)
    write_preview(run.layout, run.styles, run.request.pairs)
    totals = {"lesions": 0, "redrawn": 0, "flagged": 0}
    counts = RowCounts()
    for row in rows(run.layout):
        counts.add(row)
        totals["lesions"] += bool(row["lesion"])
        totals["redrawn"] += row["attempts"] - 1
        totals["flagged"] += bool(row["problems"])
    record = run.record()
    write_run(run.layout, run.settings, run.request.pairs, {**record, "totals": totals})
    labels = {label.name: label.channel for label in LABELS}
    name = run.layout.folder.resolve().name
    write_cards(
        run.layout.folder,
        DatasetFacts(
            name=name,
            file_ending=run.layout.file_ending,
            channels=run.channels,
            labels=labels,
            cases=run.request.pairs,
            real=0,
            lesions=counts.lesions,
            columns=counts.columns,
            pv=run.request.save_pv,
            runs=(run_facts({**record, "pairs": run.request.pairs, "settings": run.settings}, name),),
        ),
    )
    flush_names(run.layout)
    write_dataset_json(
        run.layout.folder,
        labels,
        run.channels,
        run.request.pairs,
        run.layout.file_ending,
        made_by=f"brainspade {__version__}",
    )
    remove_old_records(run.layout, run.request.shard)


def _next_command(run: SampleRun) -> str:
    folder = run.layout.folder
    if (number := dataset_number(folder)) is not None:
        return plan_command(folder, number)
    free = free_number(Path("nnUNet_raw"))
    return f"brainspade export-nnunet {shlex.quote(str(folder))} --out nnUNet_raw --id {free} --name brainspade"


def _pair_bytes(run: SampleRun) -> int:
    return len(run.channels) * IMAGE_BYTES + LABEL_BYTES + run.request.save_pv * PV_BYTES


def _warn_of_space(run: SampleRun, missing: int, reporter: Reporter) -> None:
    needed, free = missing * _pair_bytes(run), shutil.disk_usage(run.layout.folder).free
    if needed > free:
        reporter.warn(f"{run.layout.folder} needs about {_readable(needed)} more, and {_readable(free)} are free.")


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
