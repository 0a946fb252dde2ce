"""`brainspade prepare`: scans -> a slice set, with a report and contact sheets to look at."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from brainspade_cli.anatomy import BACKGROUND, BRAINSTEM, CHANNELS, DEEP_GM, LESIONS
from brainspade_cli.console import Reporter
from brainspade_cli.errors import BrainspadeError, InputError, SliceSetError, some_of
from brainspade_cli.files import disk_errors, remove_partials, write_text
from brainspade_cli.geometry import GRID_ORIGIN, GRID_SHAPE, SLICE_SHAPE
from brainspade_cli.locks import alone
from brainspade_cli.preparing.contact_sheet import write_contact_sheets
from brainspade_cli.preparing.registration import require_alignment
from brainspade_cli.preparing.scan import Outcome, prepare_scan
from brainspade_cli.preparing.scan_table import ScanFiles, find_scans
from brainspade_cli.slices import (
    POPULATIONS,
    create_slice_set,
    forget_damaged,
    on_both_sides,
    open_slice_set,
    write_array,
)


def prepare(
    source: Path, out: Path, *, register: bool, held_out: Iterable[str], jobs: int, reporter: Reporter
) -> dict[str, Any]:
    """Prepare all scans of `source` into the slice set `out`; what is prepared already and unchanged is kept.

    People with a region map (or PV maps of their own) come first: the population prior that the others need is built
    from those among them who are not held out. Scans of earlier runs that `source` does not list stay in the set, but
    count for no prior. Returns counts by status, and the populations that a label training would find. Raises
    InputError where somebody would be in training and held out, and where no scan at all could be used.
    """
    scans = find_scans(source, held_out)
    if register:
        require_alignment()
    with disk_errors(out):
        create_slice_set(out)
        busy = SliceSetError(f"Another `prepare` is at work in {out}; wait for it, or choose another folder.")
        with alone(out / ".at-work", busy):
            remove_partials(out)
            return _prepare_all(scans, source, out, register, jobs, reporter)


def _prepare_all(
    scans: list[ScanFiles], source: Path, out: Path, register: bool, jobs: int, reporter: Reporter
) -> dict[str, Any]:
    listed = {scan.name for scan in scans}
    for name, reason in forget_damaged(out).items():
        then = "it is prepared again" if name in listed else f"{source} does not list it: it is no longer in the set"
        reporter.warn(f"{name} was damaged in {out} ({reason}); {then}.")
    _heed_earlier_runs(out, source, scans, reporter)
    outcomes: list[Outcome] = []
    with reporter.progress("prepare", len(scans)) as advance:

        def run(batch: list[ScanFiles], prior: Path | None) -> None:
            for outcome in _outcomes(batch, out, register, prior, jobs):
                outcomes.append(outcome)
                advance(note=outcome.name)
                reporter.say(f"{outcome.name}: {outcome.status}. {outcome.message}".rstrip(". ") + ".")

        first = [scan for scan in scans if scan.regions or scan.pv]
        run(first, None)
        rest = [scan for scan in scans if not (scan.regions or scan.pv)]
        run(rest, build_prior(out, {scan.name for scan in first}) if rest else None)
    slice_set = open_slice_set(out)
    _write_report(out, outcomes, {scan.name for scan in slice_set.scans})
    sheets = write_contact_sheets(slice_set, out)
    counts = Counter(outcome.status for outcome in outcomes)
    if counts["refused"] == len(outcomes):
        raise InputError(f"None of the {len(outcomes)} scans in {source} could be used; {out / 'report.tsv'} says why.")
    return {
        "scans": len(scans),
        **counts,
        "slice_set": str(out),
        "populations": [name for name in POPULATIONS if slice_set.labelled(name)],
        "contact_sheets": [str(sheet) for sheet in sheets],
    }


def _heed_earlier_runs(out: Path, source: Path, scans: Sequence[ScanFiles], reporter: Reporter) -> None:
    """Say which scans stay; raises InputError where somebody would be in training and held out with them."""
    listed = {scan.name for scan in scans}
    staying = [scan for scan in open_slice_set(out).scans if scan.name not in listed]
    people = [(scan.split, scan.person, scan.dataset) for scan in staying]
    if both := on_both_sides([*people, *((scan.split, scan.person, scan.dataset) for scan in scans)]):
        raise InputError(
            f"{some_of(both)} would be in training and held out: {out} has scans of earlier runs; give the same"
            " --held-out (or split) as then, or, if these are different people, prepare all from one folder."
        )
    if staying:
        names = some_of([scan.name for scan in staying])
        reporter.say(f"{out} keeps {len(staying)} of earlier runs that {source} does not list: {names}.")


def _outcomes(scans: list[ScanFiles], out: Path, register: bool, prior: Path | None, jobs: int) -> Iterable[Outcome]:
    # ANTs keeps Python from hearing of Ctrl-C and SIGTERM while it registers; the parent of a worker hears of them.
    if not register and (jobs == 1 or len(scans) < 2):
        for scan in scans:
            yield prepare_scan(scan, out, register, prior)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = get_context("spawn")
    others = {*active_children()}
    told, lifeline = context.Pipe(duplex=False)
    with told, lifeline, ProcessPoolExecutor(jobs, context, _start_worker, (threads, told)) as pool:
        try:
            with _interrupts_held_back():
                running = [pool.submit(prepare_scan, scan, out, register, prior) for scan in scans]
            for future in as_completed(running):
                yield future.result()
        except BaseException as error:
            # A scan under way may take minutes, and nobody waits for it any longer. ANTs would keep a worker from
            # hearing of the closed pipe; what it was writing is not taken for whole.
            lifeline.close()
            for worker in {*active_children()} - others:
                worker.kill()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise BrainspadeError(
                    "A worker process was killed, perhaps because memory ran out; what is prepared is kept: run the "
                    f"same command again{', with fewer --jobs' if jobs > 1 else ''}."
                ) from error
            raise


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while workers are started.

    They inherit that for good, so that the parent alone answers; they end with it.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(threads: int, told: Connection) -> None:
    """Set a worker up: it is not to fight for the cores, and not to outlive its parent.

    Left to itself it would go on writing into the slice set beside the next run.
    """
    # ITK and OpenMP read these when they are first used.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    Thread(target=_end_with_parent, args=(told,), daemon=True).start()


def _end_with_parent(told: Connection) -> None:
    """End this process when the other end of a pipe is closed, as it is when the process that holds it ends."""
    wait([told])
    os._exit(1)


def build_prior(folder: Path, names: Collection[str]) -> Path | None:
    """Average the PV maps of the healthy scans `names` that are not held out; returns the file, or None.

    `names` are scans with a region map or PV maps of their own: maps that were made with a prior must not make the
    next one. Those without any deep grey matter or brainstem do not count. uint8 (channels, *GRID_SHAPE), 255 =
    always; lesions do not count. Slices that nobody has are background.
    """
    slices = open_slice_set(folder)
    total = np.zeros((GRID_SHAPE[2], CHANNELS, *SLICE_SHAPE), np.float32)
    seen = np.zeros((GRID_SHAPE[2], 1, 1, 1), np.float32)
    for scan in slices.select(population="healthy"):
        if scan.name not in names or not scan.has_labels:
            continue
        levels = np.rint(np.array(scan.positions) - GRID_ORIGIN[2]).astype(int)
        maps = np.asarray(slices.labels(scan), dtype=np.float32)
        if maps[:, [DEEP_GM, BRAINSTEM]].max() < 128:
            continue
        maps[:, list(LESIONS)] = 0
        total[levels] += maps
        seen[levels] += 255.0
    if not seen.any():
        return None
    average = np.rint(total / np.maximum(seen, 1.0) * 255).astype(np.uint8)
    average[seen.flatten() == 0, BACKGROUND] = 255
    path = folder / "prior.npy"
    write_array(path, np.ascontiguousarray(np.moveaxis(average, 0, -1)))
    return path


def _write_report(out: Path, outcomes: list[Outcome], there: Set[str]) -> None:
    """Write report.tsv: a row for each scan of this run, and the rows of earlier runs' scans that are in the set."""
    path = out / "report.tsv"
    rows: dict[str, str] = {}
    with suppress(OSError, ValueError):
        earlier = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        rows |= {cells[0]: "\t".join(cells) for cells in earlier if cells[0] in there and cells[1:2] != ["refused"]}
    for outcome in outcomes:
        # Of what is as it was, the report of then says more.
        if outcome.status != "unchanged" or outcome.name not in rows:
            rows[outcome.name] = f"{outcome.name}\t{outcome.status}\t{outcome.message}"
    write_text(path, "\n".join(["scan\tstatus\tmessage", *(rows[name] for name in sorted(rows))]) + "\n")
