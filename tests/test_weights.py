from __future__ import annotations

from pathlib import Path

import pytest

from brainspade_cli.bundle import open_folder
from brainspade_cli.errors import WeightsError
from brainspade_cli.weights import open_bundle
from tests.sampling.parts import tiny_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole bundle."""
    tiny_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.pt", b""),
        ("model.ckpt", b"x"),
        ("model.safetensors", b"PK\x03\x04rest"),
        ("model", b"\x80\x04\x95rest"),
    ],
)
def test_a_pickle_is_never_loaded(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(WeightsError, match="pickles are never loaded"):
        open_bundle(str(tmp_path / file))
    if Path(file).suffix in (".pt", ".ckpt"):
        with pytest.raises(WeightsError, match="pickles are never loaded"):
            open_bundle(str(tmp_path))


@pytest.mark.parametrize("weights", ["lab/brains.pth", "brains.pt"])
def test_the_name_of_an_absent_pickle_is_not_taken_for_a_repository(weights: str) -> None:
    with pytest.raises(WeightsError, match="pickles are never loaded"):
        open_bundle(weights)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(WeightsError, match="is a file; give the folder"):
        open_bundle(str(tmp_path / "model.safetensors"))
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        open_bundle(str(tmp_path))
    for name in ("nowhere", "./no/where", "/no/where", "a/b/c", "../weights-of-nobody", 300 * "a"):
        with pytest.raises(WeightsError, match="There is no folder"):
            open_bundle(name)
    # Could be a repository's name.
    with pytest.raises(WeightsError, match=r"is not in the local cache.*There is no folder my/wieghts here, either"):
        open_bundle("my/wieghts", offline=True)


def test_a_folder_below_home_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert open_bundle("~/bundle").folder == open_folder(Path("~/bundle")).folder == folder


def test_a_revision_without_a_repository_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"revision v2 .* means a commit on the Hub.*the folder"):
        open_bundle(str(folder), revision="v2")
    with pytest.raises(WeightsError, match="the installed default"):
        open_bundle(None, revision="v2")


def test_the_default_is_inside_the_package_or_beside_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "brainspade_cli"
    package.mkdir(parents=True)
    monkeypatch.setattr("brainspade_cli.bundle.resources.files", lambda name: tmp_path / "site" / name)
    with pytest.raises(WeightsError, match="came without weights"):
        open_bundle()
    (tmp_path / "site" / "weights").symlink_to(folder)
    assert (open_bundle().folder, open_bundle().source) == (tmp_path / "site" / "weights", "installed default")
    (package / "default_weights").symlink_to(folder)
    assert open_bundle().folder == package / "default_weights"
    (folder / "spade_generator.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        open_bundle().network("spade_generator")
