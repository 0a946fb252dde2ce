from __future__ import annotations

from pathlib import Path

import pytest

from brainspade_cli.errors import DatasetError
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling.run_folder import at_work, check_settings, read_run, write_run
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
    with pytest.raises(DatasetError, match="holds something else"):
        read_run(RawLayout(tmp_path / "file", ".png"))


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
