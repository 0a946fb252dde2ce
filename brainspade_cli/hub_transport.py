"""How this package talks to the Hugging Face Hub: plain HTTP that is watched, and failures told in one sentence."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from brainspade_cli.errors import WeightsError

# How often one file's transfer may start over before it is given up.
_RESTARTS = 3
# What the system says of a disk that is full or may not be written to.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
# The longest wait that the Hub may ask for; longer ones are for the user to decide on.
PATIENCE_SECONDS = 10


@contextmanager
def explained(name: str, revision: str, file: str, verb: str) -> Iterator[None]:
    """Talk to the Hub over plain HTTP, and raise every failure as a WeightsError.

    It is one sentence with repository, revision, file and remedy.
    """
    from huggingface_hub import errors

    try:
        with _plain_http(), _impatient():
            yield
    except (errors.HTTPError, errors.EntryNotFoundError, OSError, ValueError, RuntimeError) as error:
        # An upload that runs in a thread wraps what ended it in a RuntimeError.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        raise WeightsError(
            f"Cannot {verb} {file} of {name} at revision {revision}: {_reason(cause, name, revision, verb)}."
        ) from error


class Watch(tqdm):
    """Stands in for huggingface_hub's progress bar: shows nothing, and ends a transfer that keeps starting over.

    A server that cuts a file short and does not resume it would otherwise be asked for ever, since any byte that
    arrives renews huggingface_hub's patience.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})
        self._restarts = 0

    def update(self, n: float | None = 1) -> bool | None:
        """Count a step back, which is how the start of another try is reported."""
        self._restarts += n is not None and n < 0
        if self._restarts > _RESTARTS:
            raise OSError(f"the transfer was cut short {_RESTARTS + 1} times")
        return None


def unreachable(error: Exception) -> bool:
    """Whether the Hub did not answer, or answered that it cannot at present."""
    response = getattr(error, "response", None)
    return response is None or response.status_code in (429, 500, 502, 503, 504)


@contextmanager
def _plain_http() -> Iterator[None]:
    """Keep huggingface_hub from the Xet transport, which takes no timeout from us.

    It would go on for minutes at a store that is away or broken, and fail with errors of its own. Plain HTTP serves the
    same files, and uploads go to the repository in one commit.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextmanager
def bars_for_terminals() -> Iterator[None]:
    """Keep huggingface_hub's bars for uploads out of a stderr that is no terminal."""
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    chosen = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled()
    if chosen or sys.stderr.isatty():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a Hub that asks to be left alone for long; huggingface_hub would wait, five times."""
    from huggingface_hub import get_session

    def look(response: Any) -> None:
        wait = _asked_wait(response) if response.status_code in (429, 503) else 0
        if wait > PATIENCE_SECONDS:
            raise _AskedTooOftenError(response.status_code, wait)

    hooks = get_session().event_hooks["response"]
    hooks.append(look)
    try:
        yield
    finally:
        hooks.remove(look)


def _asked_wait(response: Any) -> int:
    """Seconds for which a busy Hub wants to be left alone; 0 where it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    # The Hub's own word, such as `"api";r=0;t=55`, goes first where both are given.
    own = parse_ratelimit_headers(response.headers)
    if own is not None and own.remaining == 0:
        return own.reset_in_seconds
    asked = response.headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return int(asked)
    with suppress(ValueError):
        moment = parsedate_to_datetime(asked).replace(tzinfo=timezone.utc)  # HTTP knows no other zone
        return max(0, ceil((moment - datetime.now(timezone.utc)).total_seconds()))
    return 0


class _AskedTooOftenError(OSError):
    """The Hub is busy (`status`), and says to ask again in so many seconds (`wait`)."""

    def __init__(self, status: int, wait: int) -> None:
        super().__init__(f"it says to wait for {wait} seconds ({status})")
        self.status = status
        self.wait = wait


def _reason(error: BaseException, name: str, revision: str, verb: str) -> str:
    """Why something could not be had from the Hub or put there, and what to do."""
    from huggingface_hub import constants, errors

    response = getattr(error, "response", None)
    status = None if response is None else response.status_code
    detail = " ".join(str(error).split("\n", 1)[0].split())
    if isinstance(error, _AskedTooOftenError):
        reason = f"{constants.ENDPOINT} wants to be left alone for {error.wait} seconds ({error.status})"
        remedy = "try again then, and set HF_TOKEN, for known users may ask more"
    elif isinstance(error, errors.GatedRepoError) or status == 403:
        reason = "access is refused (403)"
        remedy = f"ask for it at {constants.ENDPOINT}/{name} and set HF_TOKEN to a token that may {verb} it"
    elif isinstance(error, errors.RevisionNotFoundError):
        reason, remedy = "the repository has no such revision", "check --revision"
    elif isinstance(error, errors.RemoteEntryNotFoundError):
        reason, remedy = "there is no such file", "check that it is a brainspade bundle, or take another revision"
    elif isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        reason = f"there is no such repository, or it is private ({status})"
        remedy = "check its name, and for a private one set HF_TOKEN or log in with `hf auth login`"
    elif isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is None:
        reason = "it is not in the local cache and the network is not to be used"
        remedy = f"run `brainspade weights download {name} --revision {revision}` once with a network"
    elif isinstance(error, errors.HFValidationError):
        reason, remedy = f"the name is not valid ({detail})", "check it"
    elif isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        reason = f"the cache {constants.HF_HUB_CACHE} cannot be written ({error.strerror})"
        remedy = "make room there, or set HF_HOME to a folder on another disk"
    else:
        failed = "take it" if verb == "push" else "deliver"
        kind = " ".join([type(error).__name__, *([] if status is None else [str(status)])])
        reason = f"{constants.ENDPOINT} did not {failed} ({kind}: {detail})"
        remedy = "check the network and HF_ENDPOINT, and try again"
    return f"{reason}; {remedy}"
