"""Weights bundles on the Hugging Face Hub: fetch one into the Hub's own cache, list what is cached, push one.

huggingface_hub reads HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE when it is imported, which is why it is imported
inside the functions here: a program may set them until it first asks for weights from the Hub.

A bundle is fetched by commit. Its config.json says which files belong to it and what their SHA-256 is, and a file that
does not have it is taken out of the cache again.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from brainspade_cli.bundle_config import CARD_FILE, CONFIG_FILE
from brainspade_cli.errors import WeightsError
from brainspade_cli.files import sha256, write_text
from brainspade_cli.weights import HUB_NAME, Bundle, open_bundle, read_config

DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
# How often one file's transfer may start over before it is given up.
_RESTARTS = 3
# What the system says of a disk that is full or may not be written to.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
# The longest wait that the Hub may ask for; longer ones are for the user to decide on.
PATIENCE_SECONDS = 10


def download(name: str, revision: str | None = None, offline: bool = False) -> Bundle:
    """Fetch the bundle of a Hub repository ("org/name") into the Hub's cache and check every file of it.

    `revision` is a branch, a tag or a commit (40 hexadecimal digits; then a complete cache needs no network). With
    `offline`, or HF_HUB_OFFLINE, only the cache is used. A branch falls back on the cache where the Hub cannot be
    reached; the commit that it stood at is the bundle's `revision`. Raises WeightsError, naming repository, revision,
    file and remedy.
    """
    wanted = revision or DEFAULT_REVISION
    with _branch_kept(name, wanted):
        return _download(name, wanted, offline)


def _download(name: str, revision: str, offline: bool) -> Bundle:
    head = _fetch(name, revision, CONFIG_FILE, offline)
    folder, commit = head.parent, head.parent.name
    try:
        config = read_config(folder, f"{CONFIG_FILE} of {name} at revision {commit}")
    except WeightsError as error:
        if isinstance(error.__cause__, ValueError):
            _forget(head)
        raise
    for file, digest in config.sha256.items():
        path = _fetch(name, commit, file, offline)
        if sha256(path) != digest:
            _forget(path)
            raise WeightsError(
                f"{file} of {name} at revision {commit} does not have the SHA-256 that its {CONFIG_FILE} gives; "
                "run the same command again to fetch it anew, and tell the repository's owner if it stays so."
            )
    return Bundle(folder, config, name, commit)


def push(folder: Path, name: str, *, private: bool, message: str, token: str | None = None) -> str:
    """Upload a bundle's own files (never what a training keeps beside them) as one commit; returns the commit's URL.

    The repository is made where it does not exist, with `private` as its visibility. Without `token`, HF_TOKEN or the
    stored login is used. Raises WeightsError for a damaged bundle and for everything that the Hub refuses.
    """
    if not HUB_NAME.fullmatch(name):
        raise WeightsError(f"'{name}' is not the name of a Hub repository; give one such as org/name.")
    bundle = open_bundle(str(folder))
    for file, digest in bundle.config.sha256.items():
        path = bundle.folder / file
        if not path.is_file() or sha256(path) != digest:
            raise WeightsError(
                f"{path} is not the file that {CONFIG_FILE} describes, and nothing was pushed; train again."
            )
    files = [CONFIG_FILE, CARD_FILE, *bundle.config.sha256]
    with _explained(name, DEFAULT_REVISION, "the bundle", "push"):
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=bundle.folder, allow_patterns=files, commit_message=message
        )
    return commit.commit_url


def list_weights() -> list[Bundle]:
    """List the bundles that open without a network: the installed default, and those in the Hub's cache.

    Cached repositories of other kinds and revisions with a missing file are left out.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    bundles: list[Bundle] = []
    with suppress(WeightsError):
        bundles.append(open_bundle())
    try:
        repositories = sorted(scan_cache_dir().repos, key=lambda repository: repository.repo_id)
    except CacheNotFound:
        return bundles
    for repository in repositories:
        for cached in sorted(repository.revisions, key=lambda revision: revision.commit_hash):
            folder = cached.snapshot_path
            if repository.repo_type != "model" or not (folder / CONFIG_FILE).is_file():
                continue
            with suppress(WeightsError):
                config = read_config(folder)
                if all((folder / file).is_file() for file in config.sha256):
                    bundles.append(Bundle(folder, config, repository.repo_id, cached.commit_hash))
    return bundles


def _fetch(name: str, revision: str, file: str, offline: bool) -> Path:
    """Path of a file in the cache, fetched where it must be."""
    with _explained(name, revision, file, "get"):
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

        def cached() -> Path:
            return Path(hf_hub_download(name, file, revision=revision, local_files_only=True))

        if offline or constants.HF_HUB_OFFLINE:
            return cached()
        if _COMMIT.fullmatch(revision):
            with suppress(LocalEntryNotFoundError):
                return cached()
        try:
            # Asked for by itself, with one bounded try: hf_hub_download would go on asking a Hub that it cannot reach
            # for minutes.
            get_hf_file_metadata(hf_hub_url(name, file, revision=revision))
        except (HTTPError, OSError) as error:
            if not _unreachable(error):
                raise
            with suppress(LocalEntryNotFoundError):
                return cached()
            raise
        return Path(hf_hub_download(name, file, revision=revision, tqdm_class=_Watch))


class _Watch(tqdm):
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


def _unreachable(error: Exception) -> bool:
    """Whether the Hub did not answer, or answered that it cannot at present."""
    response = getattr(error, "response", None)
    return response is None or response.status_code in (429, 500, 502, 503, 504)


@contextmanager
def _branch_kept(name: str, revision: str) -> Iterator[None]:
    """Let the cache's note of a branch move on only to a commit that was fetched whole and found good.

    Otherwise a bad commit would take the place of the good one before it, for all who ask by the branch offline.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    note = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs" / revision
    before = None
    with suppress(OSError):
        before = note.read_text(encoding="utf-8")
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if before is not None and note.read_text(encoding="utf-8") != before:
                write_text(note, before)
        raise


@contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a Hub that asks to be left alone for long; huggingface_hub would wait, five times."""
    from huggingface_hub import get_session

    def look(response: Any) -> None:
        # The second is the Hub's own, such as `"api";r=0;t=55`, and goes first where both are given.
        waits = [response.headers.get("Retry-After", "").strip()]
        waits += re.findall(r"\bt=(\d+)", response.headers.get("RateLimit", ""))
        if response.status_code in (429, 503) and waits[-1].isdecimal() and int(waits[-1]) > PATIENCE_SECONDS:
            raise _AskedTooOftenError(response.status_code, int(waits[-1]))

    hooks = get_session().event_hooks["response"]
    hooks.append(look)
    try:
        yield
    finally:
        hooks.remove(look)


class _AskedTooOftenError(OSError):
    """The Hub is busy (`status`), and says to ask again in so many seconds (`wait`)."""

    def __init__(self, status: int, wait: int) -> None:
        super().__init__(f"it says to wait for {wait} seconds ({status})")
        self.status = status
        self.wait = wait


@contextmanager
def _explained(name: str, revision: str, file: str, verb: str) -> Iterator[None]:
    """Turn every failure of huggingface_hub into one sentence with repository, revision, file and remedy."""
    from huggingface_hub import constants, errors

    try:
        with _impatient():
            yield
    except _AskedTooOftenError as error:
        raise WeightsError(
            f"Cannot {verb} {file} of {name} at revision {revision}: {constants.ENDPOINT} wants to be left alone for "
            f"{error.wait} seconds ({error.status}); try again then, and set HF_TOKEN, for known users may ask more."
        ) from error
    except (errors.HTTPError, errors.EntryNotFoundError, OSError, ValueError) as error:
        response = getattr(error, "response", None)
        status = None if response is None else response.status_code
        detail = " ".join(str(error).split("\n", 1)[0].split())
        if isinstance(error, errors.GatedRepoError) or status == 403:
            reason = "access is refused (403)"
            remedy = f"ask for it at {constants.ENDPOINT}/{name} and set HF_TOKEN to a token that may {verb} it"
        elif isinstance(error, errors.RevisionNotFoundError):
            reason, remedy = "the repository has no such revision", "check --revision"
        elif isinstance(error, errors.RemoteEntryNotFoundError):
            reason, remedy = (
                "there is no such file",
                "check that it is a brainspade bundle, or take another revision",
            )
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
            reason = f"{constants.ENDPOINT} did not deliver ({type(error).__name__}: {detail})"
            remedy = "check the network and HF_ENDPOINT, and try again"
        raise WeightsError(f"Cannot {verb} {file} of {name} at revision {revision}: {reason}; {remedy}.") from error


def _forget(path: Path) -> None:
    """Take a cached file out of the cache with all that it links to, so that it is fetched anew."""
    with suppress(OSError):  # a cache that cannot be written: the file is refused at every opening all the same
        while path.is_symlink():
            target = path.parent / os.readlink(path)
            path.unlink()
            path = target
        path.unlink()
