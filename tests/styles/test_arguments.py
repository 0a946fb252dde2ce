from __future__ import annotations

from pathlib import Path

import pytest

from brainspade_cli.errors import InputError
from brainspade_cli.styles.arguments import channels_of, parse_styles


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_channels_come_in_the_order_of_the_values(tmp_path: Path) -> None:
    t1, flair = tmp_path / "x.nii.gz", tmp_path / "y_FLAIR.nii.gz"
    touch(t1, flair)
    styles = parse_styles([str(flair), f"T1w={t1}", "@t2"])
    assert channels_of(styles) == ("flair", "t1", "t2")
    assert [style.path for style in styles] == [flair, t1, None]
    assert styles[2].bank == "t2"


def test_several_named_scans_may_stand_in_one_value(tmp_path: Path) -> None:
    touch(tmp_path / "a b.nii.gz", tmp_path / "c.nii.gz")
    styles = parse_styles([f"t1={tmp_path}/a b.nii.gz flair={tmp_path}/c.nii.gz"])
    assert [(style.channel, style.path and style.path.name) for style in styles] == [
        ("t1", "a b.nii.gz"),
        ("flair", "c.nii.gz"),
    ]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "run=1_t1.nii.gz")
    assert parse_styles(["run=1_t1.nii.gz"])[0].channel == "t1"


def test_a_folder_gives_its_scans_and_leaves_the_rest(tmp_path: Path) -> None:
    touch(
        *(tmp_path / f"sub-{n}" / name for n in (1, 2) for name in ("t1.nii.gz", "flair.nii.gz", "tumour.nii.gz")),
        tmp_path / ".cache" / "t1.nii.gz",
        tmp_path / "notes_t1.txt",
    )
    styles = parse_styles([str(tmp_path)])
    assert [(style.channel, style.subject) for style in styles] == [
        ("t1", "sub-1"),
        ("t1", "sub-2"),
        ("flair", "sub-1"),
        ("flair", "sub-2"),
    ]
    assert all(style.optional for style in styles)
    assert {style.channel for style in parse_styles([f"flair={tmp_path}"])} == {"flair"}


def test_a_named_folder_of_unnamed_scans_is_taken_whole(tmp_path: Path) -> None:
    touch(tmp_path / "1.nii.gz", tmp_path / "2.nii.gz")
    assert len(parse_styles([f"flair={tmp_path}"])) == 2
    with pytest.raises(InputError, match="name the files' contrast"):
        parse_styles([str(tmp_path)])


def test_label_maps_of_a_folder_are_no_scans_of_the_channel_that_it_is_said_to_be(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("plain.nii.gz", "sub-1_dseg.nii.gz", "mask.nii.gz")))
    (style,) = parse_styles([f"flair={tmp_path}"])
    assert (style.channel, style.path) == ("flair", tmp_path / "plain.nii.gz")


def test_a_glob_is_a_pool(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "flair.nii.gz" for name in "abc"))
    styles = parse_styles([f"{tmp_path}/[ab]/*.nii.gz"])
    assert [style.path and style.path.parent.name for style in styles] == ["a", "b"]


def test_subjects_pair_by_folder_and_by_name_where_bids_says_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "p1" / "t1.nii", tmp_path / "p1" / "flair.nii", tmp_path / "p2" / "t1.nii")
    touch(*(tmp_path / "flat" / f"{who}_{what}.nii" for who in "ab" for what in ("t1", "flair")))
    styles = parse_styles([str(tmp_path)])
    groups: dict[str, list[str]] = {}
    for style in styles:
        groups.setdefault(style.subject, []).append(style.channel)
    assert sorted(map(sorted, groups.values())) == [["flair", "t1"], ["flair", "t1"], ["flair", "t1"], ["t1"]]


def test_links_are_scans_of_whom_they_are_called_after(tmp_path: Path) -> None:
    for who in ("sub-1", "sub-2"):
        for what in ("T1w", "FLAIR"):
            stored = tmp_path / "objects" / f"MD5-{who}{what}.nii.gz"
            touch(stored)
            (tmp_path / "set" / who / "anat").mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / who / "anat" / f"{who}_{what}.nii.gz").symlink_to(stored)
    assert [style.subject for style in parse_styles([str(tmp_path / "set")])] == ["sub-1", "sub-2"] * 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "A style is needed"),
        (["nowhere.nii.gz"], "There is no style scan nowhere.nii.gz"),
        (["t1x=t1.nii.gz"], "'t1x' is not a channel"),
        (["@ct"], "'ct' is not a channel"),
        (["plain.nii.gz"], "does not tell its contrast; say it, as in --style flair="),
        (["sub-1_dseg.nii.gz"], "is called like a label map; give the scan"),
        (["scan.jpg"], "scan.jpg is no NIfTI file"),
        (["t1.nii.gz", "t1.nii.gz"], "given twice"),
        (["t1.nii.gz", "flair=t1.nii.gz"], "given as t1 and as flair"),
        (["@t2", "@t2"], "given twice"),
        (["empty"], "holds no NIfTI file"),
        (["*_dseg.nii.gz"], "All files in .* are called like label maps; give scans"),
        (["flair=*_dseg.nii.gz"], "All files in .* are called like label maps; give scans"),
        (["*.nii.zip"], r"No NIfTI file .* is called \*\.nii\.zip"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(*(tmp_path / name for name in ("t1.nii.gz", "plain.nii.gz", "sub-1_dseg.nii.gz", "scan.jpg")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        parse_styles(values)
