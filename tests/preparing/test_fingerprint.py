from dataclasses import replace

import pytest

from brainspade_cli.errors import ScanError
from brainspade_cli.preparing.scan import fingerprint
from brainspade_cli.preparing.scan_table import ScanFiles


def test_a_fingerprint_tells_roles_datasets_files_and_priors_apart(tmp_path):
    path, other = tmp_path / "a.nii", tmp_path / "b.nii"
    path.write_bytes(b"scan")
    other.write_bytes(b"other")
    scan = ScanFiles("s1", "set a", "p1", "train", {"t1": path})
    variants = [
        scan,
        replace(scan, images={"flair": path}),
        replace(scan, images={"t1": other}),
        replace(scan, images={}, tissues=path),
        replace(scan, images={}, regions=path),
        replace(scan, dataset="set-a"),
        replace(scan, person="p2"),
        replace(scan, split="held-out"),
    ]
    assert variants[0].name == variants[5].name
    marks = [fingerprint(variant, False, None) for variant in variants]
    marks += [fingerprint(scan, True, None), fingerprint(scan, False, other)]
    assert len(set(marks)) == len(marks)
    assert fingerprint(replace(scan), False, None) == marks[0]


def test_only_scans_of_several_channels_depend_on_how_channels_are_brought_together(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(b"scan")
    one = ScanFiles("s1", "set a", "p1", "train", {"t1": tmp_path / "a.nii"})
    two = replace(one, images={**one.images, "flair": tmp_path / "a.nii"})
    scans = [(one, True), (one, False), (two, False), (two, True)]
    before = [fingerprint(scan, register, None) for scan, register in scans]
    monkeypatch.setattr("brainspade_cli.preparing.scan.CHANNELS_VERSION", 0)
    after = [fingerprint(scan, register, None) for scan, register in scans]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False]


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ScanError, match=r"gone\.nii cannot be read"):
        fingerprint(ScanFiles("s1", "a", "p1", "train", {"t1": tmp_path / "gone.nii"}), False, None)
