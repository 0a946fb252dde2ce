from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.errors import DatasetError
from brainspade_cli.nnunet.splits import hybrid_splits, read_splits, synthetic_splits


@pytest.mark.parametrize("cases", [5, 6, 12, 101])
def test_real_folds_are_nnunets_own(cases):
    theirs = pytest.importorskip("nnunetv2.utilities.crossval_split", reason="nnU-Net is not installed")
    names = [f"case_{number:03d}" for number in range(cases)]
    assert hybrid_splits(names[::-1], {}) == theirs.generate_crossval_split(names)


@given(
    real=st.sets(st.integers(0, 99), min_size=1, max_size=30),
    synthetic=st.sets(st.integers(0, 99), max_size=30),
)
def test_only_real_cases_validate_each_once_and_synthetic_always_train(real, synthetic):
    real = sorted(f"real{number}" for number in real)
    synthetic = sorted(f"made{number}" for number in synthetic)
    splits = hybrid_splits(real, dict.fromkeys(synthetic, ()))
    assert len(splits) == min(5, len(real))
    assert sorted(case for split in splits for case in split["val"]) == real
    for split in splits:
        assert set(synthetic) <= set(split["train"])
        assert sorted(split["train"] + split["val"]) == sorted(real + synthetic)


def test_a_real_label_painted_anew_does_not_train_where_the_real_case_validates():
    splits = hybrid_splits(["a", "b"], {"made0": {"a"}, "made1": {"b"}, "made2": ()})
    assert sorted(split["train"] for split in splits) == [["a", "made0", "made2"], ["b", "made1", "made2"]]


@given(marks=st.dictionaries(st.text("abc", min_size=1), st.lists(st.integers(0, 12), max_size=3), min_size=6))
def test_siblings_never_face_each_other(marks):
    try:
        splits = synthetic_splits([marks])
    except DatasetError:
        # One group: whoever shares a mark, directly or through others, is everybody.
        reached, grown = {min(marks)}, True
        while grown:
            near = {case for case in marks for other in reached if set(marks[case]) & set(marks[other])}
            grown = not near <= reached
            reached |= near
        assert reached == set(marks)
        return
    assert splits == synthetic_splits([dict(reversed(marks.items()))])
    assert sorted(case for split in splits for case in split["val"]) == sorted(marks)
    for split in splits:
        assert split["train"]
        assert split["val"]
        seen = {mark for case in split["train"] for mark in marks[case]}
        assert not seen & {mark for case in split["val"] for mark in marks[case]}


def test_strictest_way_with_five_groups_serves():
    cases = [f"case{number:02d}" for number in range(20)]
    styles = {case: [f"style{number % 5}"] for number, case in enumerate(cases)}
    labels = {case: [case] for case in cases}
    for split in synthetic_splits([styles, labels]):
        assert len({styles[case][0] for case in split["val"]}) == 1
    one_style = {key: ["style"] for key in cases}
    assert synthetic_splits([one_style, labels]) == synthetic_splits([labels])


def test_folds_of_uneven_groups_are_even():
    marks = {f"case{number:02d}": [0 if number < 8 else number] for number in range(40)}
    assert sorted(len(split["val"]) for split in synthetic_splits([marks])) == [8] * 5


def test_one_group_cannot_be_split():
    with pytest.raises(DatasetError, match="two cases"):
        synthetic_splits([{"a": [1], "b": [1]}])


def test_splits_file_is_read_sorted_or_refused(tmp_path):
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["b", "a"], "val": ["c"]}]))
    assert read_splits(path) == [{"train": ["a", "b"], "val": ["c"]}]
    for damaged in ("{", "[1]", '[{"train": []}]', "3"):
        path.write_text(damaged)
        with pytest.raises(DatasetError, match="splits"):
            read_splits(path)
