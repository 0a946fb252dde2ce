"""Weights bundles on the Hugging Face Hub: fetch one into the Hub's own cache, list what is cached, push one.

huggingface_hub reads HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE when it is imported, which is why it is imported
inside the functions here: a program may set them until it first asks for weights from the Hub.

A bundle is fetched by commit. Its config.json says which files belong to it and what their SHA-256 is, and a file that
does not have it is taken out of the cache again. What a branch stands for is noted when all of them are there.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path

from brainspade_cli.bundle import Bundle, open_folder, open_installed, read_config
from brainspade_cli.bundle_config import CARD_FILE, CONFIG_FILE, TENSOR_FILES
from brainspade_cli.errors import WeightsError
from brainspade_cli.files import sha256, write_text
from brainspade_cli.hub_transport import Watch, bars_for_terminals, explained, unreachable

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(name: str, revision: str | None = None, offline: bool = False) -> Bundle:
    """Fetch the bundle of a Hub repository ("org/name") into the Hub's cache and check every file of it.

    `revision` is a branch, a tag or a commit (40 hexadecimal digits; then a complete cache needs no network). With
    `offline`, or HF_HUB_OFFLINE, only the cache is used. A branch falls back on the cache where the Hub cannot be
    reached; the commit that it stood at is the bundle's `revision`. Raises WeightsError, naming repository, revision,
    file and remedy.
    """
    wanted = revision or DEFAULT_REVISION
    bundle = _download(name, _commit(name, wanted, offline), offline)
    if bundle.revision != wanted:
        _note(bundle, wanted)
    return bundle


def _download(name: str, commit: str, offline: bool) -> Bundle:
    head = _fetch(name, commit, CONFIG_FILE, offline)
    folder = head.parent
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

    Files of a bundle that were pushed before and that this one lacks, such as codes of training slices, are deleted in
    it; they stay in the repository's history. The repository is made where it does not exist, with `private` as its
    visibility. Without `token`, HF_TOKEN or the stored login is used. Raises WeightsError for what is no whole bundle
    and for everything that the Hub refuses.
    """
    if not HUB_NAME.fullmatch(name):
        raise WeightsError(f"'{name}' is not the name of a Hub repository; give one such as org/name.")
    bundle = open_folder(folder)
    for file, digest in bundle.config.sha256.items():
        path = bundle.folder / file
        if not path.is_file() or sha256(path) != digest:
            raise WeightsError(
                f"{path} is not the file that {CONFIG_FILE} describes, and nothing was pushed; train again."
            )
    files = [CONFIG_FILE, CARD_FILE, *bundle.config.sha256]
    gone = [file for file in TENSOR_FILES if file not in bundle.config.sha256]
    with explained(name, DEFAULT_REVISION, "the bundle", "push"), bars_for_terminals():
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=bundle.folder,
            allow_patterns=files,
            delete_patterns=gone,
            commit_message=message,
        )
    return commit.commit_url


def list_weights() -> list[Bundle]:
    """List the bundles that open without a network: the installed default, and those in the Hub's cache.

    Cached repositories of other kinds and revisions with a missing file are left out.
    """
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    bundles: list[Bundle] = []
    with suppress(WeightsError):
        bundles.append(open_installed())
    try:
        # Named, for scan_cache_dir by itself would look where this constant pointed when it was imported.
        repositories = sorted(scan_cache_dir(constants.HF_HUB_CACHE).repos, key=lambda repository: repository.repo_id)
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


def _commit(name: str, revision: str, offline: bool) -> str:
    """The commit that a revision stands for, as the Hub says, or the cache where the Hub is away or not to be asked."""
    if _COMMIT.fullmatch(revision):
        return revision
    with explained(name, revision, CONFIG_FILE, "get"):
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import FileMetadataError, HTTPError, LocalEntryNotFoundError

        if offline or constants.HF_HUB_OFFLINE:
            return _cached(name, revision, CONFIG_FILE).parent.name
        try:
            commit = get_hf_file_metadata(hf_hub_url(name, CONFIG_FILE, revision=revision)).commit_hash
        except (HTTPError, OSError) as error:
            if not unreachable(error):
                raise
            with suppress(LocalEntryNotFoundError):
                return _cached(name, revision, CONFIG_FILE).parent.name
            raise
        if not _COMMIT.fullmatch(commit or ""):
            raise FileMetadataError("its answer does not name the commit")
        return str(commit)


def _fetch(name: str, commit: str, file: str, offline: bool) -> Path:
    """Path of a commit's file in the cache, fetched where it must be."""
    with explained(name, commit, file, "get"):
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return _cached(name, commit, file)
        except LocalEntryNotFoundError:
            if offline or constants.HF_HUB_OFFLINE:
                raise
        # Asked for by itself, with one bounded try: hf_hub_download would go on asking a Hub that it cannot reach for
        # minutes.
        get_hf_file_metadata(hf_hub_url(name, file, revision=commit))
        return Path(hf_hub_download(name, file, revision=commit, tqdm_class=Watch))


def _cached(name: str, revision: str, file: str) -> Path:
    """Path of a file in the cache. Raises LocalEntryNotFoundError.

    hf_hub_download may ask the Hub who its caller is, even where it is told to look at local files only.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    path = try_to_load_from_cache(name, file, revision=revision)
    if not isinstance(path, str):
        raise LocalEntryNotFoundError(f"{file} is not in the cache")
    return Path(path)


def _note(bundle: Bundle, revision: str) -> None:
    """Let the cache remember that a branch or tag stands for the commit of a bundle, which is whole and good.

    huggingface_hub would do so before the first file has come, and a run that is killed then would leave a branch that
    opens no longer offline, though the commit before it is whole.
    """
    note = bundle.folder.parent.parent / "refs" / revision
    with explained(bundle.source, revision, "the commit", "note"):
        with suppress(FileNotFoundError):
            if note.read_text(encoding="utf-8") == bundle.revision:
                return
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            write_text(note, str(bundle.revision))
        except OSError as error:
            # A cache that others look after serves all the same.
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise


def _forget(path: Path) -> None:
    """Take a cached file out of the cache with all that it links to, so that it is fetched anew."""
    with suppress(OSError):  # a cache that cannot be written: the file is refused at every opening all the same
        while path.is_symlink():
            target = path.parent / os.readlink(path)
            path.unlink()
            path = target
        path.unlink()
