"""The bulk of an export: every case, and the real test cases, into their places; what is there and up to date stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.console import Reporter
from brainspade_cli.nnunet.dataset import file_names
from brainspade_cli.nnunet.raw import RawLayout, flush_names
from brainspade_cli.nnunet.sources import Source, Sources
from brainspade_cli.nnunet.transfer import label_values, transfer_image, transfer_label
from brainspade_cli.reporting.verdicts import remove_verdicts

# Copying waits for the disk and compressing releases the interpreter, so threads help.
THREADS = 4


@dataclass(frozen=True)
class Job:
    """One case (or test case) on its way: (from, to) for each image and, where there is one, for the label."""

    images: tuple[tuple[Path, Path], ...]
    label: tuple[Path, Path] | None
    file_ending: str
    lookup: NDArray[np.uint8]

    @property
    def files(self) -> tuple[tuple[Path, Path], ...]:
        """(from, to) for each of its files."""
        return (*self.images, *([self.label] if self.label else []))

    @property
    def done(self) -> bool:
        """Whether all of them are there, whole, and written since the files that they come from changed last."""
        return all(_up_to_date(source, target) for source, target in self.files)


def _up_to_date(source: Path, target: Path) -> bool:
    try:
        there, come_from = target.stat(), source.stat()
    except OSError:
        return False
    # A power cut may leave an empty file. A file that took another's place may have an old date, but its change is new.
    changed = max(come_from.st_mtime_ns, come_from.st_ctime_ns)
    return target.is_file() and there.st_size > 0 and there.st_mtime_ns >= changed


def copy_cases(layout: RawLayout, sources: Sources, reporter: Reporter) -> bool:
    """Write every case that is not there yet, or has changed since; returns whether any label holds ignored pixels."""
    jobs = [job for part in sources.parts for job in (*_case_jobs(layout, sources, part), *_test_jobs(layout, part))]
    missing = [not job.done for job in jobs]
    if any(missing):
        # Files were lost since, or have changed: no dataset until all are as they should be.
        layout.header.unlink(missing_ok=True)
        remove_verdicts(layout, reporter)
        if not all(missing):
            reporter.say(
                f"{sum(missing)} of {len(jobs)} cases and test files are new or have changed; the others stay."
            )
    for folder in {target.parent for job in jobs for _, target in job.files}:
        folder.mkdir(exist_ok=True)
    ignore = sources.task.ignore_value

    def run(job: Job, is_missing: bool) -> bool:
        if is_missing:
            for source, target in job.images:
                transfer_image(source, target, job.file_ending, layout.file_ending)
            if job.label:
                transfer_label(*job.label, job.file_ending, layout.file_ending, job.lookup)
        return job.label is not None and bool((job.lookup == ignore).any()) and ignore in label_values(job.label[1])

    with_ignore = False
    with ThreadPoolExecutor(THREADS) as pool, reporter.progress("exporting", len(jobs)) as advance:
        futures = [pool.submit(run, job, is_missing) for job, is_missing in zip(jobs, missing, strict=True)]
        try:
            for future in futures:
                with_ignore |= future.result()
                advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    flush_names(layout)
    return with_ignore


def _case_jobs(layout: RawLayout, sources: Sources, part: Source) -> list[Job]:
    return [
        Job(
            tuple((image, layout.image_path(name, channel)) for channel, image in enumerate(case.images)),
            (case.label, layout.label_path(name)),
            part.file_ending,
            part.lookup,
        )
        for name, case in part.named_cases()
    ]


def _test_jobs(layout: RawLayout, part: Source) -> list[Job]:
    """Test images and labels of a real dataset, file by file."""
    if not part.real:
        return []
    folder = part.dataset.folder
    images = [
        Job(((folder / "imagesTs" / name, layout.folder / "imagesTs" / name),), None, part.file_ending, part.lookup)
        for name in file_names(folder / "imagesTs", part.file_ending)
    ]
    labels = [
        Job((), (folder / "labelsTs" / name, layout.folder / "labelsTs" / name), part.file_ending, part.lookup)
        for name in file_names(folder / "labelsTs", part.file_ending)
    ]
    return images + labels
