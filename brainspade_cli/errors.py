"""One family of exceptions. Library code raises them; cli.py alone turns them into exit codes."""

from __future__ import annotations

import errno
from collections.abc import Sequence

# What torch says where memory runs out: on a CPU, on CUDA and on Apple's GPUs, and in CUDA's libraries.
_WANT_OF_MEMORY = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
# So many names a sentence holds.
NAMED_AT_MOST = 3


def one_line(text: str) -> str:
    """A text on one line: names out of files may hold line ends, and codes that a terminal would obey."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def some_of(names: Sequence[str]) -> str:
    """The first of some names, in words."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


class BrainspadeError(Exception):
    """Something that a run could not get past, said in one sentence: what, which file, what to do.

    `exit_code` is the status with which the command line ends when the exception reaches it.
    """

    exit_code = 1

    def __str__(self) -> str:
        """The sentence, on one line."""
        return one_line(super().__str__())


class InputError(BrainspadeError):
    """The caller's arguments or files cannot be used (exit code 2)."""

    exit_code = 2


class ScanError(InputError):
    """A scan or label map cannot be read, or holds nothing that can be used."""


class SliceSetError(InputError):
    """A slice set is missing, incomplete, or of another version."""


class WeightsError(InputError):
    """A weights bundle cannot be had, read or trusted."""


class DatasetError(InputError):
    """An output folder, a dataset or a task definition cannot be used."""


class TrainingError(BrainspadeError):
    """A training had to stop, for instance at a loss that is not a number (exit code 1)."""


class PeerError(TrainingError):
    """Another process of a training ended, and this one cannot go on alone; the other one says why (exit code 1)."""


class CheckFailed(BrainspadeError):  # noqa: N818 (it reports a result, not an error)
    """A check or an audit ran to its end and found problems (exit code 3)."""

    exit_code = 3


def want_of_memory(error: Exception) -> str | None:
    """What took the memory that was not there, "" where nothing is known of it; None for every other error."""
    if isinstance(error, MemoryError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return str(error.filename or "")
    # torch has a type of its own for CUDA alone, and not for every place where its memory runs out.
    return "" if isinstance(error, RuntimeError) and any(words in str(error) for words in _WANT_OF_MEMORY) else None
