"""Which files lie below a folder, linked folders among them."""

from __future__ import annotations

import os
from pathlib import Path

from brainspade_cli.reading import files_below


def test_linked_folders_are_entered_once_and_hidden_files_left(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for file in (root / "sub-2" / "t1.nii", root / ".git" / "t1.nii", root / "._t1.nii", elsewhere / "deep" / "t1.nii"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    os.symlink(elsewhere, root / "sub-1")
    os.symlink(elsewhere, root / "sub-4")
    os.symlink(root / "sub-2", root / "sub-0")
    os.symlink(root, elsewhere / "deep" / "back")
    os.symlink(tmp_path, elsewhere / "out")
    os.symlink(root / "sub-2" / "t1.nii", root / "sub-2" / "linked.nii")
    found = files_below(root)
    assert [file.relative_to(root).as_posix() for file in found] == [
        "sub-1/deep/t1.nii",
        "sub-2/linked.nii",
        "sub-2/t1.nii",
    ]
    assert files_below(tmp_path / "absent") == []
