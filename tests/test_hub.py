from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
import torch

from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.errors import WeightsError
from brainspade_cli.files import sha256
from brainspade_cli.hub import download, list_weights, push
from brainspade_cli.weights import open_bundle
from tests.hub_server import Hub, Repository, serving

NAME = "lab/brains"
BANK = "style_bank.safetensors"
ENCODER = "style_encoder.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with two tensor files, a card, and what a training leaves beside them."""
    folder = tmp_path / "bundle"
    generator = torch.Generator().manual_seed(0)
    create_or_update_bundle(
        folder,
        config_updates={
            "name": "brains",
            "preset": "tiny",
            "style_bank": {"flair": {"intensity_mean": 100.0, "intensity_std": 20.0}},
        },
        networks={
            "style_bank": {f"flair.{key}": torch.randn(3, 8, generator=generator) for key in ("mean", "log_variance")},
            "style_encoder": {"weight": torch.randn(40, 40, generator=generator)},
        },
    )
    (folder / "README.md").write_text("# Brains\n")
    (folder / "training").mkdir()
    (folder / "training" / "state.safetensors").write_bytes(b"optimiser")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT does before huggingface_hub is imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server, and huggingface_hub turned to it with an empty cache, as its environment would turn it."""
    from huggingface_hub import constants

    with serving() as server:
        point_to(server.endpoint, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture
def commit(hub: Hub, folder: Path) -> str:
    """The commit of the bundle on the server."""
    return hub.repositories.setdefault(NAME, Repository()).add(contents(folder))


def refusal(*words: str, revision: str = "main", offline: bool = False) -> str:
    """The message with which a download fails: one sentence that names the repository, the revision and `words`."""
    with pytest.raises(WeightsError) as failure:
        download(NAME, revision, offline)
    message = str(failure.value)
    for word in (NAME, revision, *words):
        assert word in message
    assert "\n" not in message
    return message


def test_a_download_has_the_commit_and_the_files(hub: Hub, commit: str, folder: Path) -> None:
    bundle = open_bundle(NAME)
    assert (bundle.source, bundle.revision) == (NAME, commit)
    assert bundle.config == open_bundle(str(folder)).config
    assert bundle.hashes() == {file: sha256(folder / file) for file in ("config.json", BANK, ENCODER)}
    assert torch.equal(bundle.style_bank("flair").mean, open_bundle(str(folder)).style_bank("flair").mean)
    assert hub.count("GET", "state.safetensors") == 0


def test_a_pinned_commit_is_taken_from_the_cache_without_a_request(hub: Hub, commit: str) -> None:
    download(NAME, commit)
    asked = len(hub.requests)
    assert download(NAME, commit).revision == commit
    assert len(hub.requests) == asked


def test_a_branch_follows_the_repository_and_fetches_only_what_changed(hub: Hub, commit: str, folder: Path) -> None:
    download(NAME)
    create_or_update_bundle(
        folder, config_updates={"licence": "CC-BY-4.0"}, networks={"style_encoder": {"weight": torch.ones(4)}}
    )
    newer = hub.repositories[NAME].add(contents(folder))
    hub.requests.clear()
    bundle = download(NAME)
    assert (bundle.revision, bundle.config.licence) == (newer, "CC-BY-4.0")
    assert hub.count("GET", ENCODER) == 1
    assert hub.count("GET", BANK) == 0
    assert download(NAME, commit).config.licence == ""


def test_offline_uses_the_cache_and_nothing_else(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> dict[str, str]:
        raise AssertionError("making up the headers of a request may itself ask the Hub, once in a process")

    refusal("config.json", "cache", f"brainspade weights download {NAME}", offline=True)
    assert hub.requests == []
    download(NAME)
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.file_download.build_hf_headers", refuse)
    assert download(NAME, offline=True).revision == commit
    assert download(NAME, commit).revision == commit
    assert hub.requests == []


def test_a_branch_falls_back_on_the_cache_when_the_hub_is_away(hub: Hub, commit: str) -> None:
    download(NAME)
    hub.refused["config.json"] = 503
    assert download(NAME).revision == commit


@pytest.mark.parametrize(
    ("prepare", "revision", "words"),
    [
        (lambda hub: hub.repositories.clear(), "main", ("no such repository", "HF_TOKEN")),
        (lambda hub: setattr(hub.repositories[NAME], "token", "secret"), "main", ("private (401)", "HF_TOKEN")),
        (lambda hub: hub.refused.update({"config.json": 403}), "main", ("403", "HF_TOKEN")),
        (lambda hub: None, "no-such-branch", ("no such revision", "--revision")),
        (lambda hub: None, "0" * 40, ("no such revision", "--revision")),
        (lambda hub: hub.refused.update({"config.json": 500}), "main", ("config.json", "500", "try again")),
    ],
    ids=["absent", "private", "gated", "branch", "commit", "broken"],
)
def test_what_the_hub_refuses_is_said(hub: Hub, commit: str, prepare, revision: str, words: tuple[str, ...]) -> None:
    prepare(hub)
    refusal(*words, revision=revision)
    assert len(hub.requests) <= 2


def test_a_file_that_config_names_and_the_repository_lacks_is_named(hub: Hub, commit: str) -> None:
    del hub.repositories[NAME].commits[commit][BANK]
    refusal(BANK, "no such file", revision=commit)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")]
)
def test_a_cache_that_cannot_be_written_is_not_put_down_to_the_network(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    refusal("the cache", f"cannot be written ({words})", "set HF_HOME", revision=commit)


def test_a_repository_of_another_kind_is_refused(hub: Hub) -> None:
    hub.repositories[NAME] = Repository()
    head = hub.repositories[NAME].add({"config.json": b'{"model_type": "bert"}'})
    refusal("not the config.json of a brainspade weights bundle", revision=head)


def test_a_token_opens_a_private_repository(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[NAME].token = "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert download(NAME).revision == commit


def test_an_unreachable_hub_is_given_up_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)
    began = time.monotonic()
    refusal("config.json", "127.0.0.1:9", "HF_ENDPOINT")
    assert time.monotonic() - began < 15


def test_a_file_of_the_wrong_hash_is_refused_and_leaves_the_cache(hub: Hub, commit: str) -> None:
    good = hub.repositories[NAME].commits[commit][BANK]
    hub.swapped[BANK] = bytes(len(good))
    refusal(BANK, "SHA-256", "again", revision=commit)
    refusal(BANK, "cache", revision=commit, offline=True)
    hub.swapped.clear()
    assert download(NAME, commit).revision == commit


def test_a_cached_file_that_was_damaged_is_fetched_anew_at_the_next_try(hub: Hub, commit: str) -> None:
    path = download(NAME, commit).folder / BANK
    path.resolve().write_bytes(b"damaged")
    refusal(BANK, "SHA-256", revision=commit, offline=True)
    assert download(NAME, commit).style_bank("flair").mean.shape == (3, 8)


def test_a_longer_or_shorter_file_than_announced_is_refused(hub: Hub, commit: str) -> None:
    for content in (b"short", bytes(9999)):
        hub.swapped[BANK] = content
        refusal(BANK, revision=commit)


def test_a_file_that_the_hub_offers_by_another_protocol_too_comes_by_plain_http(hub: Hub, commit: str) -> None:
    from huggingface_hub import constants

    hub.elsewhere = True
    hub.repositories[NAME].token = "secret"
    Path(constants.HF_TOKEN_PATH).write_text("secret")
    assert download(NAME).revision == commit
    assert hub.count("GET", f"stored/{commit}/{ENCODER}") == 1
    assert not [path for _, path in hub.requests if "xet" in path]


@pytest.mark.parametrize("chosen", [False, True])
def test_the_choice_of_protocol_is_given_back(
    hub: Hub, commit: str, folder: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", chosen)
    download(NAME)
    assert constants.HF_HUB_DISABLE_XET is chosen
    refusal(revision="absent")
    assert constants.HF_HUB_DISABLE_XET is chosen
    push(folder, NAME, private=True, message="again", token="write-token")
    assert constants.HF_HUB_DISABLE_XET is chosen


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file of 3 kB arrive as one of 60 MB would: in several chunks; and let retries follow without a pause."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.mark.usefixtures("small_steps")
def test_a_transfer_that_is_cut_is_resumed(hub: Hub, commit: str) -> None:
    hub.cut_after[ENCODER] = 1500
    hub.resumes = True
    assert download(NAME, commit).revision == commit
    assert hub.count("GET", ENCODER) > 1


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hub_that_wants_to_be_left_alone_is_not_waited_for(hub: Hub, commit: str, method: str) -> None:
    hub.retry_after = "3600"
    (hub.refused if method == "HEAD" else hub.refused_at_last)[ENCODER] = 429
    began = time.monotonic()
    refusal(ENCODER, "429", "3600 seconds", "HF_TOKEN", revision=commit)
    assert time.monotonic() - began < 10
    assert hub.count("GET", ENCODER) <= 1


def test_the_hubs_own_word_for_a_wait_is_understood(hub: Hub, commit: str) -> None:
    hub.rate_limit = '"api";r=0;t=3000'
    hub.refused_at_last[ENCODER] = 429
    began = time.monotonic()
    refusal(ENCODER, "429", "3000 seconds", revision=commit)
    assert time.monotonic() - began < 10


def test_a_short_wait_that_the_hub_asks_for_is_kept(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    hub.retry_after, hub.patience = "3", 2
    hub.refused_at_last[ENCODER] = 429
    assert download(NAME, commit).revision == commit
    assert [round(seconds) for seconds in waited if seconds >= 1] == [4, 4]


def date(seconds: float) -> str:
    """A moment from now on, as HTTP writes it."""
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_until_a_date_far_ahead_is_not_waited_for(hub: Hub, commit: str, status: int) -> None:
    hub.retry_after = date(3600)
    hub.refused_at_last[ENCODER] = status
    message = refusal(ENCODER, str(status), "HF_TOKEN", revision=commit)
    seconds = int(re.findall(r"alone for (\d+) seconds", message)[0])
    assert 3590 <= seconds <= 3601
    assert hub.count("GET", ENCODER) == 1


@pytest.mark.parametrize("asked", [date(3), date(-3600), "", "soon"], ids=["near", "past", "nothing", "nonsense"])
def test_a_busy_hub_that_sets_no_long_wait_is_asked_again(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    hub.retry_after, hub.patience = asked, 3
    hub.refused_at_last[ENCODER] = 429
    assert download(NAME, commit).revision == commit
    hub.patience = 1_000_000
    (download(NAME, commit).folder / ENCODER).resolve().unlink()
    waited.clear()
    hub.requests.clear()
    refusal(ENCODER, "429", "try again", revision=commit)
    assert hub.count("GET", ENCODER) <= 6
    assert sum(waited) < 30


def test_a_hub_that_is_out_of_order_and_says_nothing_is_given_up_at_once(hub: Hub, commit: str) -> None:
    hub.refused_at_last[ENCODER] = 503
    began = time.monotonic()
    refusal(ENCODER, "503", "try again", revision=commit)
    assert hub.count("GET", ENCODER) == 1
    assert time.monotonic() - began < 10


def test_a_wait_of_a_limit_that_is_not_used_up_is_no_reason_to_give_up(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.rate_limit, hub.patience = '"api";r=7;t=3000', 1
    hub.refused_at_last[ENCODER] = 429
    assert download(NAME, commit).revision == commit


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
def test_a_file_that_is_refused_when_it_is_fetched_is_named(hub: Hub, commit: str, status: int) -> None:
    hub.refused_at_last[BANK] = status
    hub.retry_after = "600"
    refusal(BANK, str(status), revision=commit)
    assert hub.count("GET", BANK) == 1


@pytest.mark.parametrize("at_last", [False, True], ids=["HEAD", "GET"])
def test_a_redirect_that_leads_back_is_given_up(hub: Hub, commit: str, at_last: bool) -> None:
    (hub.loops_at_last if at_last else hub.loops).add(BANK)
    refusal(BANK, "redirects", revision=commit)
    assert len(hub.requests) < 60


@pytest.mark.usefixtures("small_steps")
def test_a_transfer_that_comes_to_a_stop_is_given_up(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.stalls_after[ENCODER] = 1500
    began = time.monotonic()
    refusal(ENCODER, "try again", revision=commit)
    assert time.monotonic() - began < 15
    assert hub.count("GET", ENCODER) <= 7


def _damage_the_config(hub: Hub) -> None:
    hub.repositories[NAME].add({"config.json": b"{"})


def _damage_a_file(hub: Hub) -> None:
    hub.swapped[BANK] = b"\0" * 5000


def _refuse_a_file(hub: Hub) -> None:
    hub.refused_at_last[BANK] = 500


@pytest.mark.parametrize("damage", [_damage_the_config, _damage_a_file, _refuse_a_file])
def test_a_good_cached_copy_serves_on_when_the_branch_moves_to_a_bad_one(
    hub: Hub, commit: str, folder: Path, damage: Callable[[Hub], None]
) -> None:
    good = download(NAME)
    create_or_update_bundle(
        folder,
        config_updates={"licence": "newer"},
        networks={"style_bank": {f"flair.{key}": torch.ones(3, 8) for key in ("mean", "log_variance")}},
    )
    hub.repositories[NAME].add(contents(folder))
    damage(hub)
    with pytest.raises(WeightsError):
        download(NAME)
    assert download(NAME, offline=True).revision == commit
    assert download(NAME, commit).hashes() == good.hashes()


def test_a_good_cached_copy_serves_on_when_the_download_of_a_newer_one_is_killed(
    hub: Hub, commit: str, folder: Path
) -> None:
    from huggingface_hub import constants

    download(NAME)
    create_or_update_bundle(folder, config_updates={}, networks={"style_encoder": {"weight": torch.ones(40, 40)}})
    newer = hub.repositories[NAME].add(contents(folder))
    hub.stalls_after[ENCODER] = 1500
    hub.requests.clear()
    code = f"from brainspade_cli import hub; hub.download('{NAME}')"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as child:
        began = time.monotonic()
        while not hub.count("GET", ENCODER) and child.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.05)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert hub.count("GET", ENCODER) == 1
    assert download(NAME, offline=True).revision == commit
    hub.refused["config.json"] = 503
    assert download(NAME).revision == commit
    hub.refused.clear()
    hub.stalls_after.clear()
    assert download(NAME).revision == newer
    assert download(NAME, offline=True).revision == newer


def test_a_whole_cache_that_may_only_be_read_serves_a_branch_that_is_new_to_it(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        def write(path: Path, text: str) -> None:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr("brainspade_cli.hub.write_text", write)

    download(NAME, commit)
    refuse(errno.EROFS)
    assert download(NAME).revision == commit
    refuse(errno.ENOSPC)
    refusal("cannot be written (No space left on device)")


def test_an_answer_without_a_proper_commit_is_refused(hub: Hub, folder: Path) -> None:
    hub.repositories[NAME] = Repository({"../elsewhere": contents(folder)})
    refusal("config.json", "does not name the commit")


@pytest.mark.usefixtures("small_steps")
def test_a_transfer_that_is_cut_for_ever_is_given_up(hub: Hub, commit: str, tmp_path: Path) -> None:
    hub.cut_after[ENCODER] = 1500
    refusal(ENCODER, "cut short", "try again", revision=commit)
    assert hub.count("GET", ENCODER) <= 6
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".incomplete"]
    refusal(ENCODER, "cache", revision=commit, offline=True)


def test_the_list_has_whole_brainspade_bundles_only(hub: Hub, commit: str, folder: Path, tmp_path: Path) -> None:
    assert [bundle for bundle in list_weights() if bundle.revision] == []
    download(NAME)
    other = Repository()
    other.add({"config.json": b'{"model_type": "bert"}'})
    hub.repositories["lab/other"] = other
    with pytest.raises(WeightsError):
        download("lab/other")
    listed = [bundle for bundle in list_weights() if bundle.revision]
    assert [(bundle.source, bundle.revision) for bundle in listed] == [(NAME, commit)]
    (listed[0].folder / BANK).unlink()
    assert [bundle for bundle in list_weights() if bundle.revision] == []


def test_a_push_sends_the_bundle_and_nothing_else_and_comes_back(
    hub: Hub, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = push(folder, NAME, private=True, message="first weights", token="write-token")
    (commit, files), *_ = hub.repositories[NAME].commits.items()
    assert url == f"{hub.endpoint}/{NAME}/commit/{commit}"
    assert files == contents(folder)
    assert hub.count("PUT") == 2
    assert capfd.readouterr() == ("", "")
    assert hub.created[0]["visibility"] == "private"
    assert hub.messages == ["first weights"]
    assert download(NAME).config == open_bundle(str(folder)).config


def test_a_push_takes_files_away_that_the_bundle_no_longer_has(hub: Hub, folder: Path) -> None:
    """Codes tell who was trained on: whoever leaves them out does not want those of before to be served."""
    push(folder, NAME, private=True, message="first", token="write-token")
    hub.repositories[NAME].add({"training_codes.safetensors": b"codes", "notes.txt": b"of somebody"})
    push(folder, NAME, private=True, message="second", token="write-token")
    assert list(hub.repositories[NAME].commits.values())[-1] == {**contents(folder), "notes.txt": b"of somebody"}


def test_a_push_without_leave_is_explained(hub: Hub, folder: Path) -> None:
    with pytest.raises(WeightsError, match=f"Cannot push.*{NAME}.*HF_TOKEN"):
        push(folder, NAME, private=True, message="first")
    with pytest.raises(WeightsError, match="not the name of a Hub repository"):
        push(folder, "no-owner", private=True, message="first", token="write-token")


def test_what_is_no_folder_is_not_pushed(hub: Hub, folder: Path) -> None:
    with pytest.raises(WeightsError, match="There is no folder lab/brains; give the folder"):
        push(Path(NAME), "lab/others", private=True, message="first", token="write-token")
    with pytest.raises(WeightsError, match=r"config\.json is a file; give the folder"):
        push(folder / "config.json", NAME, private=True, message="first", token="write-token")
    assert not hub.created


@pytest.mark.parametrize(
    ("status", "wait", "words"),
    [
        (403, "", "403.*HF_TOKEN"),
        (400, "", "BadRequestError 400"),
        (503, "3600", "3600 seconds"),
        (503, "", "503.*try again"),
    ],
)
@pytest.mark.usefixtures("small_steps")
def test_an_upload_that_the_store_refuses_is_explained(
    hub: Hub, folder: Path, status: int, wait: str, words: str
) -> None:
    hub.store_refuses, hub.retry_after = status, wait
    with pytest.raises(WeightsError, match=f"Cannot push.*{NAME}.*{words}") as failure:
        push(folder, NAME, private=True, message="first", token="write-token")
    assert "\n" not in str(failure.value)
    assert not hub.repositories[NAME].commits


def test_a_damaged_bundle_is_not_pushed(hub: Hub, folder: Path) -> None:
    (folder / BANK).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=BANK):
        push(folder, NAME, private=True, message="first", token="write-token")
    assert hub.requests == []


def python(code: str, **environment: str) -> dict[str, str]:
    """What a program prints as JSON when it runs with these environment variables."""
    names = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    run = subprocess.run(
        [sys.executable, "-c", code], env={**names, **environment}, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_environment_says_where_the_hub_and_the_cache_are(hub: Hub, commit: str, tmp_path: Path) -> None:
    hub.repositories[NAME].token = "secret"
    code = (
        "import json, sys\n"
        "from brainspade_cli import weights\n"
        "early = 'huggingface_hub' in sys.modules\n"
        "try:\n"
        f"    bundle = weights.open_bundle('{NAME}')\n"
        "    print(json.dumps({'early': early, 'revision': bundle.revision, 'folder': str(bundle.folder)}))\n"
        "except weights.WeightsError as error:\n"
        "    print(json.dumps({'error': str(error)}))\n"
    )
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint}
    assert "HF_TOKEN" in python(code, **home)["error"]
    found = python(code, HF_TOKEN="secret", **home)
    assert (found["early"], found["revision"]) == (False, commit)
    assert Path(found["folder"]).is_relative_to(tmp_path / "home")
    hub.requests.clear()
    assert python(code, HF_HUB_OFFLINE="1", **home)["revision"] == commit
    assert not hub.count("HEAD")


def test_a_silent_hub_is_given_up(hub: Hub, commit: str, tmp_path: Path) -> None:
    hub.silent = True
    code = (
        "import json\n"
        "from brainspade_cli import weights\n"
        "try:\n"
        f"    weights.open_bundle('{NAME}')\n"
        "except weights.WeightsError as error:\n"
        "    print(json.dumps({'error': str(error)}))\n"
    )
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint, "HF_HUB_ETAG_TIMEOUT": "1"}
    assert "Timeout" in python(code, **environment)["error"]
    assert hub.count("HEAD", "/config.json") == 1
    assert hub.count("GET", "/config.json") == 0
