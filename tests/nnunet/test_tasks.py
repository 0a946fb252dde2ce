from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.anatomy import NAMES
from brainspade_cli.errors import DatasetError
from brainspade_cli.nnunet.tasks import UNDECLARED, Task, load_task
from tests.nnunet.sets import TABLE


@pytest.fixture
def task_file(tmp_path):
    def write(content):
        path = tmp_path / "own.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def mapped(task, labels=TABLE):
    lookup = task.lookup(labels)
    return {name: int(lookup[value]) for name, value in labels.items()}


def test_all_is_the_table():
    task = load_task("all")
    assert mapped(task) == TABLE
    assert task.labels(with_ignore=False) == TABLE


def test_tissues_follow_fast_and_ignore_what_a_tumour_hides():
    task = load_task("tissues")
    assert mapped(task) == {
        "background": 0,
        "csf": 1,
        "gm": 2,
        "deep_gm": 2,
        "wm": 3,
        "brainstem": 3,
        "tumour": 4,
        "oedema": 4,
    }
    assert task.labels(with_ignore=True) == {"background": 0, "csf": 1, "gm": 2, "wm": 3, "ignore": 4}
    assert task.labels(with_ignore=False) == {"background": 0, "csf": 1, "gm": 2, "wm": 3}


def test_tumour_is_whole_tumour_against_the_rest():
    task = load_task("tumour")
    assert [name for name, value in mapped(task).items() if value] == ["tumour", "oedema"]
    assert task.labels(with_ignore=False) == {"background": 0, "whole_tumour": 1}


def test_file_numbers_its_labels_in_order(task_file):
    labels = {"lesion": "tumour", "ignore": ["oedema"], "grey": ["gm", "deep_gm"], "background": ["csf"]}
    task = load_task(task_file({"labels": labels}))
    assert task.labels(with_ignore=True) == {"background": 0, "lesion": 1, "grey": 2, "ignore": 3}
    found = mapped(task)
    assert found.pop("tumour") == 1
    assert found.pop("oedema") == 3
    assert found.pop("gm") == found.pop("deep_gm") == 2
    assert set(found.values()) == {0}


def test_file_may_name_labels_of_a_real_dataset(task_file):
    content = {"labels": {"lesion": ["tumour", "oedema", "Edema", "Necrosis"], "background": ["Skull"]}}
    task = load_task(task_file(content), extra_names=["background", "Edema", "Necrosis", "Skull"])
    assert mapped(task, {"background": 0, "Skull": 1, "Edema": 2, "Necrosis": 3}) == {
        "background": 0,
        "Skull": 0,
        "Edema": 1,
        "Necrosis": 1,
    }
    with pytest.raises(DatasetError, match="no label 'Edema'"):
        load_task(task_file(content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", "no task file"),
        ("[]", "must look like"),
        ({"labels": {"a": ["gm"]}, "extra": 1}, "must look like"),
        ({"labels": ["gm"]}, "must look like"),
        ({"labels": {}}, "no label beside background"),
        ({"labels": {"ignore": ["gm"]}}, "no label beside background"),
        ({"labels": {"a": []}}, "takes nothing in"),
        ({"labels": {"a": 3}}, "list of names"),
        ({"labels": {"a": [3]}}, "list of names"),
        ({"labels": {" ": ["gm"]}}, "list of names"),
        ({"labels": {"a": ["GM matter"]}}, "there are background, csf"),
        ({"labels": {"a": ["gm"], "b": ["wm", "gm"]}}, "both 'a' and 'b'"),
        ({"labels": {"a": ["gm", "gm"]}}, "both 'a' and 'a'"),
        ({"labels": {"a": ["background"]}}, "background can only be background"),
        ('{"labels": {"a": ["gm"], "a": ["wm"]}}', "stands in it twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(task_file, content, said):
    with pytest.raises(DatasetError, match=said):
        load_task(task_file(content))


def test_unknown_task_names_those_there_are():
    with pytest.raises(DatasetError, match="all, tissues, tumour"):
        load_task("tumor")


def test_source_labels_that_say_nothing_are_named():
    with pytest.raises(DatasetError, match=r"becomes of edema.*csf, gm, wm, ignore"):
        load_task("tissues").lookup({"background": 0, "edema": 1})


@pytest.mark.parametrize(
    ("labels", "fits"),
    [
        ({"background": 0, "Liquor": 1, "Grey": 2, "White": 3}, True),
        ({"background": 0, "Liquor": 1, "Grey": 2, "White": 3, "ignore": 4}, True),
        ({"background": 0, "Liquor": 1, "gm": 2, "White": 3}, True),
        ({"background": 0, "Liquor": 2, "gm": 1, "White": 3}, False),
        ({"background": 0, "Liquor": 1, "Grey": 2}, False),
        ({"background": 0, "Liquor": 1, "Grey": 2, "White": 3, "Lesion": 4}, False),
    ],
)
def test_numbers_serve_where_names_do_not_contradict(labels, fits):
    lookup = load_task("tissues").lookup_by_number(labels)
    assert (lookup is not None) == fits
    if lookup is not None:
        values = sorted(labels.values())
        assert lookup[values].tolist() == values
        assert (lookup[len(values) :] == UNDECLARED).all()


@given(data=st.data())
def test_any_grouping_gives_consecutive_labels_and_sends_each_label_to_its_group(data):
    members = data.draw(st.lists(st.sampled_from(NAMES[1:]), min_size=1, unique=True))
    cuts = data.draw(st.lists(st.integers(0, len(members)), max_size=4))
    edges = sorted({0, *cuts, len(members)})
    groups = {f"group{start}": tuple(members[start:end]) for start, end in itertools.pairwise(edges)}
    task = Task("own", groups)
    values = data.draw(st.permutations(range(len(NAMES))))
    labels = dict(zip(NAMES, values, strict=True))
    lookup = task.lookup(labels)
    assert list(task.labels(with_ignore=True).values()) == list(range(len(groups) + 2))
    for number, group in enumerate(groups.values(), start=1):
        assert {name for name in NAMES if lookup[labels[name]] == number} == set(group)
    assert {name for name in NAMES if lookup[labels[name]] == 0} == set(NAMES) - set(members)
    assert np.count_nonzero(lookup == UNDECLARED) == 256 - len(NAMES)
