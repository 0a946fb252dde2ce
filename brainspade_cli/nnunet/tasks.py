"""What is to be segmented: how the label table, or another dataset's labels, turn into the labels of a task.

all       the table as it is, 0..7
tissues   csf, gm (with deep_gm), wm (with brainstem), as FAST and its kin divide a brain. A tumour and its oedema
          hide the tissue that was there, so they become nnU-Net's `ignore`: no loss, no score, where they lie
tumour    whole_tumour (tumour and oedema) against everything else
FILE      {"labels": {"grey": ["gm", "deep_gm"], "lesion": "tumour", "ignore": ["oedema"]}}: numbered in the order of
          the file from 1; what the file does not name becomes background
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import NAMES
from brainspade_cli.errors import DatasetError
from brainspade_cli.nnunet.dataset import IGNORE
from brainspade_cli.reading import read_json

BACKGROUND_NAME = NAMES[0]
# In a lookup: no label of the source has this value, so that no pixel may.
UNDECLARED = 255


@dataclass(frozen=True)
class Task:
    """A named task. `groups`: its labels in order, background left out, each with the source labels that it takes in.

    `ignored`: source labels that nnU-Net is to leave out of loss and score. `background`: source labels beside the
    table's that become background; those of the table that nothing names do so anyway.
    """

    name: str
    groups: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...] = ()
    background: tuple[str, ...] = ()

    @property
    def ignore_value(self) -> int:
        """The value that ignored pixels take: one above the highest label."""
        return len(self.groups) + 1

    def labels(self, *, with_ignore: bool) -> dict[str, int]:
        """Name -> value, as dataset.json wants it. "ignore" is declared only `with_ignore`: it changes the training."""
        names = (BACKGROUND_NAME, *self.groups, *((IGNORE,) if with_ignore else ()))
        return {name: value for value, name in enumerate(names)}

    def value_of(self, source: str) -> int | None:
        """Value that a source label takes, its name compared without case; None for a name that says nothing here.

        A label of the table goes where the groups put it, background where none does. A label of any other name goes
        where the task names it, or to the task's own label of that name.
        """
        key = source.casefold()
        values = {name.casefold(): value for value, name in enumerate(self.groups, start=1)}
        values |= {name.casefold(): 0 for name in (*NAMES, *self.background)}
        values |= {name.casefold(): self.ignore_value for name in (IGNORE, *self.ignored)}
        for value, members in enumerate(self.groups.values(), start=1):
            values |= {member.casefold(): value for member in members}
        return values.get(key)

    def lookup(self, labels: Mapping[str, int]) -> NDArray[np.uint8]:
        """Table (256,) from the values of a source to the task's; `UNDECLARED` where the source declares no label.

        Raises DatasetError, naming the labels, where the source has some that the task says nothing about.
        """
        table = np.full(256, UNDECLARED, np.uint8)
        unknown = []
        for name, value in labels.items():
            target = self.value_of(name)
            if target is None:
                unknown.append(name)
            elif not 0 <= value < UNDECLARED:
                raise DatasetError(f"Label '{name}' has the value {value}; only 0 to {UNDECLARED - 1} can be used.")
            else:
                table[value] = target
        if unknown:
            raise DatasetError(
                f"Task '{self.name}' does not say what becomes of {', '.join(unknown)}; name it in a task file"
                f" (the task has {', '.join(self.labels(with_ignore=bool(self.ignored)))})."
            )
        return table

    def lookup_by_number(self, labels: Mapping[str, int]) -> NDArray[np.uint8] | None:
        """Table (256,) for labels of other names but the task's numbers; None where numbers or names say otherwise."""
        plain = {name: value for name, value in labels.items() if name.casefold() != IGNORE}
        contradicted = any(self.value_of(name) not in (None, value) for name, value in plain.items())
        if contradicted or sorted(plain.values()) != list(range(self.ignore_value)):
            return None
        table = np.full(256, UNDECLARED, np.uint8)
        # "ignore" comes next after the labels in both.
        table[: len(labels)] = np.arange(len(labels))
        return table


def load_task(spec: str, extra_names: Collection[str] = ()) -> Task:
    """Give the task of that name, or the one that a JSON file describes.

    `extra_names`: labels beside the table's that a file may name, as those of a real dataset to be merged in.
    Raises DatasetError, saying what is wrong with the file or which names there are.
    """
    tasks = {task.name: task for task in _built_in()}
    if spec in tasks:
        return tasks[spec]
    path = Path(spec)
    if not path.is_file():
        raise DatasetError(f"There is no task '{spec}', and no file of that name; choose one of {', '.join(tasks)}.")
    return _parse(path, (*NAMES, *extra_names))


def _built_in() -> tuple[Task, ...]:
    return (
        Task("all", {name: (name,) for name in NAMES[1:]}),
        Task(
            "tissues",
            {"csf": ("csf",), "gm": ("gm", "deep_gm"), "wm": ("wm", "brainstem")},
            ignored=("tumour", "oedema"),
        ),
        Task("tumour", {"whole_tumour": ("tumour", "oedema")}),
    )


def _parse(path: Path, known: Collection[str]) -> Task:
    try:
        content = read_json(path, _without_doubles)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no task file ({error}).") from error
    entries = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or set(content) != {"labels"}:
        raise DatasetError(f'{path} must look like {{"labels": {{"name": ["csf", "gm"], ...}}}}.')
    groups: dict[str, tuple[str, ...]] = {}
    taken: dict[str, str] = {}
    for name, members in entries.items():
        groups[name] = _members(path, name, members, known)
        for member in groups[name]:
            if member in taken:
                raise DatasetError(f"{path}: '{member}' stands in both '{taken[member]}' and '{name}'.")
            taken[member] = name
    if taken.get(BACKGROUND_NAME, BACKGROUND_NAME) != BACKGROUND_NAME:
        raise DatasetError(f"{path}: background can only be background, not '{taken[BACKGROUND_NAME]}'.")
    background = groups.pop(BACKGROUND_NAME, ())
    ignored = groups.pop(IGNORE, ())
    if not groups:
        raise DatasetError(f"{path} names no label beside background.")
    return Task(path.stem, groups, ignored, background)


def _members(path: Path, name: str, members: Any, known: Collection[str]) -> tuple[str, ...]:
    listed = [members] if isinstance(members, str) else members
    if not name.strip() or not isinstance(listed, list) or not all(isinstance(member, str) for member in listed):
        raise DatasetError(f"{path}: label '{name}' must have a list of names, not {members!r}.")
    if not listed:
        raise DatasetError(f"{path}: label '{name}' takes nothing in; give it at least one name.")
    for member in listed:
        if member not in known:
            raise DatasetError(f"{path}: there is no label '{member}'; there are {', '.join(known)}.")
    return tuple(listed)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found
