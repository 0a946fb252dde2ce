from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainspade_cli import __version__
from brainspade_cli.errors import DatasetError
from brainspade_cli.locks import UNLOCKED
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling import run_folder
from brainspade_cli.sampling.run_folder import (
    at_work,
    begin_run,
    check_settings,
    read_run,
    remove_old_records,
    write_run,
)
from brainspade_cli.sampling.shards import Shard

SETTINGS = {"seed": 0, "tumour": True, "tumour_fraction": 0.5, "labels": None, "weights": {"a": "1"}}


@pytest.fixture
def layout(tmp_path: Path) -> RawLayout:
    layout = RawLayout(tmp_path / "set", ".nii.gz")
    layout.create()
    return layout


def test_an_empty_or_absent_folder_is_a_new_run(tmp_path: Path, layout: RawLayout) -> None:
    assert read_run(RawLayout(tmp_path / "absent", ".nii.gz")) is None
    (layout.provenance / ".12.partial.run.json").touch()
    assert read_run(layout) is None


def test_a_folder_of_something_else_is_refused(layout: RawLayout, tmp_path: Path) -> None:
    (layout.images / "case_0000.nii.gz").touch()
    with pytest.raises(DatasetError, match="holds something else"):
        read_run(layout)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="file is no folder; choose an empty one"):
        read_run(RawLayout(tmp_path / "file", ".png"))
    with pytest.raises(DatasetError, match="file is no folder; choose an empty one"):
        read_run(RawLayout(tmp_path / "file" / "a" / "b", ".png"))


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99, "settings": {}}'])
def test_a_damaged_or_foreign_record_is_refused(layout: RawLayout, text: str) -> None:
    (layout.provenance / "run.json").write_text(text)
    with pytest.raises(DatasetError, match=r"run\.json"):
        read_run(layout)


def test_a_run_goes_on_with_the_same_settings_and_as_many_pairs_or_more(layout: RawLayout) -> None:
    write_run(layout, SETTINGS, 10, {})
    run = read_run(layout)
    assert run is not None
    check_settings(layout, run, SETTINGS, 10)
    check_settings(layout, run, SETTINGS, 20)
    with pytest.raises(DatasetError, match="a run of 10 pairs; ask for as many or more"):
        check_settings(layout, run, SETTINGS, 9)


def test_every_difference_is_named(layout: RawLayout) -> None:
    write_run(layout, SETTINGS, 10, {})
    run = read_run(layout)
    assert run is not None
    other = {"seed": 1, "tumour": False, "tumour_fraction": 0.25, "labels": None, "weights": {"a": "2"}}
    with pytest.raises(
        DatasetError, match=r"begun with seed 0, now 1; tumour on, now off; tumour fraction 0.5, now 0.25"
    ):
        check_settings(layout, run, other, 10)
    with pytest.raises(DatasetError, match="other weights"):
        check_settings(layout, run, other, 10)


def test_styles_that_were_stripped_otherwise_are_not_gone_on_with(layout: RawLayout) -> None:
    """Pairs made before and after would have other styles, under one record."""
    write_run(layout, {**SETTINGS, "styles": [["t1", "t1.nii.gz", "ab"]]}, 10, {})
    run = read_run(layout)
    assert run is not None
    stripped = {**SETTINGS, "styles": [["t1", "t1.nii.gz", "ab", "stripped"]]}
    with pytest.raises(DatasetError, match=r"begun with skulls on its styles, now taken off .*strip"):
        check_settings(layout, run, stripped, 10)
    with pytest.raises(DatasetError, match=r"begun with skulls taken off its styles, now on them .*strip.* again"):
        check_settings(layout, {**run, "settings": stripped}, run["settings"], 10)
    for other in ([["t1", "t1.nii.gz", "cd", "stripped"]], 5, [5]):
        with pytest.raises(DatasetError, match="styles"):
            check_settings(layout, {**run, "settings": {**SETTINGS, "styles": other}}, run["settings"], 10)


def test_networks_that_draw_patients_in_place_of_healthy_people_are_not_other_weights(layout: RawLayout) -> None:
    shared = {"painter": "1", "settings": "x"}
    write_run(layout, {**SETTINGS, "weights": {**shared, "denoiser_tumour": "2"}, "solver": [1]}, 10, {})
    run = read_run(layout)
    assert run is not None
    healthy = {**SETTINGS, "tumour": False, "weights": {**shared, "settings": "y", "denoiser_healthy": "3"}}
    with pytest.raises(DatasetError, match=r"begun with tumour on, now off\. To go on, repeat"):
        check_settings(layout, run, healthy, 10)
    drawn = {**SETTINGS, "weights": run["settings"]["weights"], "solver": [2], "steps": 20}
    with pytest.raises(DatasetError, match=r"begun with steps \w+, now 20\. To go on, repeat"):
        check_settings(layout, run, drawn, 10)
    with pytest.raises(DatasetError, match=r"other solver; tumour on, now off; other weights\. To go on, repeat"):
        check_settings(layout, run, {**healthy, "weights": {**healthy["weights"], "painter": "4"}}, 10)


@pytest.mark.parametrize(
    ("begun", "made_with", "words"),
    [
        (
            4,
            {"brainspade": "0.0.1"},
            r"begun by an older version of brainspade \(0\.0\.1\).*with that version",
        ),
        (4, {"brainspade": __version__}, r"begun by an older version of brainspade, "),
        (4, {"brainspade": 3}, r"begun by an older version of brainspade, "),
        (None, None, r"begun by an older version of brainspade, "),
        (6, {"brainspade": "99.1"}, r"begun by a newer version of brainspade \(99\.1\)"),
    ],
)
def test_a_run_of_another_version_is_to_be_finished_with_that_version(
    layout: RawLayout, begun: int | None, made_with: Any, words: str
) -> None:
    before = SETTINGS if begun is None else {**SETTINGS, "pairs_version": begun}
    write_run(layout, before, 10, {"made_with": made_with})
    run = read_run(layout)
    assert run is not None
    with pytest.raises(DatasetError, match=words) as failure:
        check_settings(layout, run, {**SETTINGS, "pairs_version": 5, "seed": 1}, 10)
    # The first command would be refused again.
    assert "To go on, repeat" not in str(failure.value)
    assert "choose another folder with --out" in str(failure.value)


def test_one_shard_is_held_by_one_run_at_a_time(layout: RawLayout) -> None:
    with at_work(layout, Shard(0, 2)):
        with pytest.raises(DatasetError, match="on shard 0/2"), at_work(layout, Shard(0, 2)):
            pass
        with at_work(layout, Shard(1, 2)):
            pass
        with pytest.raises(DatasetError, match="another --shard"), at_work(layout, Shard()):
            pass
        with at_work(layout, Shard(1, 2)):
            pass
    with at_work(layout, Shard()):
        pass
    assert list(layout.provenance.iterdir()) == []


def test_the_lock_of_a_killed_run_holds_nobody_up(layout: RawLayout) -> None:
    (layout.provenance / ".at-work-0-of-2").touch()
    (layout.provenance / ".at-work-0-of-1").touch()
    with at_work(layout, Shard()):
        pass


def test_of_shards_that_begin_at_once_all_are_held_to_one_record(
    layout: RawLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other shard writes its record when this one has found none."""
    create = run_folder.create_json

    def late(path: Path, data: Any) -> bool:
        create(path, {**data, "settings": {**SETTINGS, "seed": 5}, "pairs": 4})
        return create(path, data)

    monkeypatch.setattr(run_folder, "create_json", late)
    with pytest.raises(DatasetError, match="begun with seed 5, now 0"):
        begin_run(layout, SETTINGS, 10, {})
    monkeypatch.setattr(run_folder, "create_json", create)
    begin_run(layout, {**SETTINGS, "seed": 5}, 10, {})
    run = read_run(layout)
    assert run is not None
    assert run["pairs"] == 10


def test_a_shard_that_looks_while_another_begins_is_not_put_off(
    layout: RawLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's record and first images come between its looks for the record and for anything else."""
    contents = run_folder._contents

    def meanwhile(looked_at: RawLayout) -> Iterator[Path]:
        write_run(looked_at, SETTINGS, 10, {})
        (looked_at.images / "brainspade_0000000_0000.nii.gz").touch()
        return contents(looked_at)

    monkeypatch.setattr(run_folder, "_contents", meanwhile)
    run = read_run(layout)
    assert run is not None
    assert run["settings"] == SETTINGS


def test_records_that_kills_left_are_removed_when_nobody_else_may_write_them(
    layout: RawLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [layout.folder / ".0123abcd.partial.dataset.json", layout.provenance / ".0123abcd.partial.run.json"]
    for path in left:
        path.touch()
    with at_work(layout, Shard(0, 2)):
        with at_work(layout, Shard(1, 2)):
            remove_old_records(layout, Shard(0, 2))
            assert all(path.exists() for path in left)
        (layout.provenance / ".at-work-1-of-2").touch()
        with monkeypatch.context() as patched:
            patched.setattr(run_folder, "hold", lambda path: UNLOCKED)
            remove_old_records(layout, Shard(0, 2))
            assert all(path.exists() for path in left)
        remove_old_records(layout, Shard(0, 2))
    assert not any(path.exists() for path in left)
    assert list(layout.provenance.iterdir()) == []


def test_scans_that_others_go_together_with_are_another_run(layout: RawLayout) -> None:
    """A T1 and a FLAIR of one subject are drawn together, which their folders tell and their hashes do not."""
    begun = {**SETTINGS, "styles": [["t1", "a", "0"], ["flair", "a", "1"]], "subjects": [0, 0]}
    write_run(layout, begun, 10, {})
    run = read_run(layout)
    assert run is not None
    with pytest.raises(DatasetError, match="begun with its style scans in other folders"):
        check_settings(layout, run, {**begun, "subjects": [0, 1]}, 10)
    with pytest.raises(DatasetError, match=r"begun with other styles\. To go on"):
        check_settings(layout, run, {**begun, "styles": [["t1", "a", "0"]], "subjects": [0]}, 10)
