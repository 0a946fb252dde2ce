"""Checking a raw dataset before nnU-Net meets it: everything that its own check refuses, and what it lets pass.

nnU-Net's check does not see NaN (SimpleITK reads it as 0), files that were cut short (SimpleITK makes the rest up),
colour labels, a constant image, splits that name cases which are not there, or, worst of all, slices that it will cut
along the wrong axis.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from brainspade_cli.console import Reporter
from brainspade_cli.errors import CheckFailed, DatasetError
from brainspade_cli.nnunet.check_case import CaseFacts, inspect_case
from brainspade_cli.nnunet.dataset import RawCase, RawHeader, file_names, list_cases, read_header
from brainspade_cli.nnunet.planes import NIFTI, PNG
from brainspade_cli.nnunet.planning import planning_problems
from brainspade_cli.nnunet.splits import read_splits

THREADS = 4
# Printed once nnU-Net is imported: what fails before it is the installation, not the dataset.
_STARTED = "nnU-Net starts its check"
_NNUNET = f"""
import sys
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
print({_STARTED!r}, flush=True)
verify_dataset_integrity(sys.argv[1], int(sys.argv[2]))
"""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a dataset; `case` is None where it concerns the whole."""

    text: str
    case: str | None = None

    def __str__(self) -> str:
        return f"{self.case}: {self.text}" if self.case else self.text


def check(folder: Path, reporter: Reporter) -> list[Problem]:
    """Check a raw dataset of .nii.gz or .png files; returns what is wrong with it, nothing where it is sound.

    Our own check comes first, since it says more and sees more. Where it finds nothing and nnunetv2 is installed,
    nnU-Net's own has the last word.
    """
    try:
        header = read_header(folder)
        cases = list_cases(header)
    except DatasetError as error:
        return [Problem(str(error))]
    if header.file_ending not in (NIFTI, PNG):
        return [Problem(f"{folder} holds {header.file_ending} files; only .nii.gz and .png can be checked.")]
    problems = [*_structure(header, cases), *_contents(header, cases, reporter), *_splits(folder, cases)]
    if not problems and nnunet_installed():
        problems = _nnunet(folder, len(cases), reporter)
    return problems


def nnunet_installed() -> bool:
    """Whether nnU-Net can be imported here; nothing is imported to tell."""
    return importlib.util.find_spec("nnunetv2") is not None


def require_sound(folder: Path, reporter: Reporter) -> None:
    """Check a raw dataset; raises CheckFailed where something is wrong with it, after a line for each problem."""
    problems = check(folder, reporter)
    for problem in problems[:20]:
        reporter.warn(str(problem))
    if problems:
        more = f" (the first 20 of {len(problems)} are listed)" if len(problems) > 20 else ""
        raise CheckFailed(f"{folder} has {len(problems)} problem{'s' * (len(problems) > 1)}{more}.")
    reporter.say(f"{folder} is sound.")


def _structure(header: RawHeader, cases: Sequence[RawCase]) -> list[Problem]:
    """Problems with numbers and names of files."""
    problems = []
    if not cases:
        problems.append(Problem(f"{header.folder} holds no cases."))
    if len(cases) != header.count:
        problems.append(Problem(f"dataset.json tells of {header.count} cases, but there are {len(cases)}."))
    for case in cases:
        problems += [Problem(f"{path} is missing.", case.name) for path in case.missing]
    if "dataset" not in header.content:
        names = {case.label.name for case in cases}
        stray = [name for name in file_names(header.folder / "labelsTr", header.file_ending) if name not in names]
        problems += [Problem(f"labelsTr/{name} has no images.") for name in stray]
    return problems


def _contents(header: RawHeader, cases: Sequence[RawCase], reporter: Reporter) -> list[Problem]:
    """Problems with what is in the files."""
    whole = [case for case in cases if not case.missing]
    problems: list[Problem] = []
    facts: dict[str, CaseFacts] = {}

    def run(case: RawCase) -> CaseFacts:
        return inspect_case(case, header)

    with ThreadPoolExecutor(THREADS) as pool, reporter.progress("checking", len(whole)) as advance:
        for case, found in zip(whole, pool.map(run, whole), strict=True):
            facts[case.name] = found
            problems += [Problem(text, case.name) for text in found.problems]
            advance()
    present = frozenset[int]().union(*(found.values for found in facts.values()))
    if facts and not problems:
        if present <= {0}:
            problems.append(Problem("No label of the dataset holds anything but background."))
        unused = sorted(header.values - present)
        if unused:
            reporter.say(
                f"No case holds the label values {', '.join(map(str, unused))}; nnU-Net learns nothing of them."
            )
    readable = {name: found for name, found in facts.items() if found.shape}
    problems += [Problem(text, name) for name, text in planning_problems(readable, reporter)]
    return problems


def _splits(folder: Path, cases: Sequence[RawCase]) -> list[Problem]:
    path = folder / "splits_final.json"
    if not path.exists():
        return []
    try:
        folds = read_splits(path)
    except DatasetError as error:
        return [Problem(str(error))]
    names = {case.name for case in cases}
    problems = []
    for number, fold in enumerate(folds):
        train, val = set(fold["train"]), set(fold["val"])
        if not train <= names or not val <= names:
            problems.append(Problem(f"{path}: fold {number} names {min((train | val) - names)}, which is no case."))
        if train & val:
            problems.append(Problem(f"{path}: fold {number} trains and validates on {min(train & val)}."))
        if not train or not val:
            problems.append(Problem(f"{path}: fold {number} has nothing to train or to validate on."))
    return problems


def _nnunet(folder: Path, cases: int, reporter: Reporter) -> list[Problem]:
    """Run nnU-Net's own check in a process of its own, for it prints and ends as it likes."""
    # Each worker takes seconds to import nnU-Net.
    workers = str(min(8, os.cpu_count() or 1, 1 + cases // 200))
    finished = subprocess.run(
        [sys.executable, "-c", _NNUNET, str(folder.resolve()), workers],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if finished.returncode == 0:
        return []
    said = [line for line in (finished.stdout + finished.stderr).splitlines() if line.strip()]
    if _STARTED not in finished.stdout:
        reporter.warn(f"nnU-Net's own check could not start, so that only ours was run ({said[-1] if said else ''}).")
        return []
    return [Problem(f"nnU-Net refuses {folder}: {' '.join(said[-3:])}")]
