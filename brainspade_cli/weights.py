"""Weights by what a user calls them: the installed default, a folder or a repository on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from brainspade_cli.bundle import Bundle, find_folder, open_folder, open_installed
from brainspade_cli.errors import WeightsError
from brainspade_cli.hub import HUB_NAME, download


def open_bundle(weights: str | None = None, revision: str | None = None, offline: bool = False) -> Bundle:
    """Open the installed default (None), a folder, or a Hub repository ("org/name" at `revision`, a branch or commit).

    With `offline`, a Hub name is looked up in the local cache alone. Raises WeightsError for what cannot be had.
    """
    if weights is None:
        _refuse(revision, "the installed default")
        return open_installed()
    if (folder := find_folder(Path(weights))) is not None:
        _refuse(revision, f"the folder {folder}")
        return open_folder(folder)
    if not HUB_NAME.fullmatch(weights):
        raise WeightsError(f"There is no folder {weights}; give a weights folder or a Hub name such as org/name.")
    try:
        return download(weights, revision, offline)
    except WeightsError as error:
        # A mistyped folder looks like a name on the Hub.
        raise type(error)(f"{error} There is no folder {weights} here, either.") from error


def _refuse(revision: str | None, weights: str) -> None:
    """Raise WeightsError where a revision was given for weights that have none."""
    if revision is not None:
        raise WeightsError(
            f"The revision {revision} (--revision, BRAINSPADE_REVISION) means a commit on the Hub, but the weights are "
            f"{weights}; leave it out or give a Hub name."
        )
