from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling.manifest import (
    Manifest,
    case_name,
    manifest_path,
    pairs_made,
    pv_path,
    remove_leftovers,
    rows,
    tidy,
)
from brainspade_cli.sampling.shards import Shard


@pytest.fixture
def layout(tmp_path: Path) -> RawLayout:
    layout = RawLayout(tmp_path / "set", ".nii.gz")
    layout.create()
    return layout


def put(layout: RawLayout, index: int, channels: int = 1, pv: bool = False) -> None:
    for path in layout.case_paths(case_name(index), channels):
        path.touch()
    if pv:
        pv_path(layout, index).parent.mkdir(exist_ok=True)
        pv_path(layout, index).touch()


def list_pairs(layout: RawLayout, *indices: int, shard: Shard | None = None) -> None:
    with Manifest(manifest_path(layout, shard or Shard())) as manifest:
        for index in indices:
            manifest.append(line(index))


def line(index: int) -> dict[str, Any]:
    """What is asked of a pair's line."""
    style = {"channel": "t1", "name": "t1.nii.gz", "sha256": "0", "slice": 0}
    known = {"attempts": 1, "problems": [], "lesion": False, "styles": [style]}
    return {"case": case_name(index), "index": index, **known}


def test_a_pair_is_made_when_it_is_listed_and_its_files_are_there(layout: RawLayout) -> None:
    for index in (0, 1, 3):
        put(layout, index, channels=2)
    put(layout, 4, channels=1)
    list_pairs(layout, 1, 2, 4, 9)
    list_pairs(layout, 3, shard=Shard(1, 2))
    assert pairs_made(layout, 5, channels=2, save_pv=False).tolist() == [False, True, False, True, False]


def test_pv_maps_count_where_they_are_kept(layout: RawLayout) -> None:
    put(layout, 0, pv=True)
    put(layout, 1)
    list_pairs(layout, 0, 1)
    assert pairs_made(layout, 2, 1, save_pv=True).tolist() == [True, False]
    assert pairs_made(layout, 2, 1, save_pv=False).tolist() == [True, True]


def test_half_written_files_count_for_nothing(layout: RawLayout) -> None:
    put(layout, 0)
    layout.label_path(case_name(0)).rename(layout.labels / f".{case_name(0)}.nii.gz.77.partial")
    list_pairs(layout, 0)
    assert not pairs_made(layout, 1, 1, save_pv=False).any()


@given(cut=st.integers(1, 40))
def test_a_line_torn_anywhere_is_dropped_and_the_next_run_goes_on_behind_it(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("manifest") / "brainspade" / "manifest.jsonl"
    path.parent.mkdir()
    layout = RawLayout(path.parent.parent, ".nii.gz")
    list_pairs(layout, 0, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    kept = [row["index"] for row in rows(layout)]
    assert kept == [0, 1][: len(kept)]
    list_pairs(layout, 7)
    assert [row["index"] for row in rows(layout)] == [*kept[: (whole[: len(whole) - cut]).count(b"\n")], 7]


def test_a_long_torn_line_is_cut_off(layout: RawLayout) -> None:
    path = manifest_path(layout, Shard())
    list_pairs(layout, 0)
    with open(path, "ab") as file:
        file.write(b'{"index": 1, "junk": "' + b"x" * 10_000)
    list_pairs(layout, 2)
    assert [row["index"] for row in rows(layout)] == [0, 2]
    assert path.read_bytes().count(b"\n") == 2


def test_foreign_lines_are_passed_over(layout: RawLayout) -> None:
    manifest_path(layout, Shard()).write_text(
        f'[1]\n{{"index": "2"}}\n\xff\n{json.dumps(line(3))}\n', encoding="latin-1"
    )
    assert [row["index"] for row in rows(layout)] == [3]


def test_tidying_leaves_the_last_row_of_each_pair(layout: RawLayout) -> None:
    first, second, empty = (manifest_path(layout, shard) for shard in (Shard(0, 3), Shard(1, 3), Shard(2, 3)))
    lines = {index: json.dumps(line(index)) for index in range(5)}
    newer = json.dumps({**line(0), "attempts": 2})
    first.write_text("\n".join([lines[0], lines[1], newer, '{"case": "brainsp', json.dumps(line(2)), lines[4]]) + "\n")
    second.write_text("\n".join([lines[1], lines[3], '{"torn']))
    empty.touch()
    tidy(layout, 4)
    assert first.read_text() == f"{newer}\n{lines[2]}\n"
    assert second.read_text() == f"{lines[1]}\n{lines[3]}\n"
    assert sorted(layout.provenance.iterdir()) == [first, second]


def test_tidy_manifests_are_not_written_again(layout: RawLayout) -> None:
    list_pairs(layout, 0, 1, 2)
    path = manifest_path(layout, Shard())
    # Another hand's spaces are no reason either.
    path.write_text(path.read_text().replace(": ", ":  "))
    before = path.stat()
    tidy(layout, 3)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_leftovers_go_for_the_own_pairs_alone(layout: RawLayout) -> None:
    mine = layout.images / f".{case_name(3)}_0000.nii.gz.12.partial"
    others = layout.labels / f".{case_name(9)}.nii.gz.13.partial"
    whole = layout.label_path(case_name(3))
    for path in (mine, others, whole):
        path.touch()
    remove_leftovers(layout, range(0, 8))
    assert [path.exists() for path in (mine, others, whole)] == [False, True, True]
