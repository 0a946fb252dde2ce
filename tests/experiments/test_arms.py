import re
from dataclasses import replace

import pytest
from arms import EXPERIMENTS, FEW_PATIENTS, Choices, experiment
from sets import REAL, SIMULATED, SYNTHETIC, Recipe, mark_of

from brainspade_cli.errors import InputError
from brainspade_cli.preparing.scan_table import find_scans
from brainspade_cli.sampling.run import PAIRS_VERSION
from brainspade_cli.slices import open_slice_set
from tests.conftest import make_scan
from tests.experiments.conftest import FOLDER

CHOICES = Choices("rings", "lesions", "training", "patients", pairs=8, stride=2, seed=0, weights="w1")


@pytest.fixture
def slices(slice_folder):
    return open_slice_set(slice_folder)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_nobody_who_is_tested_is_trained_on_or_gives_a_style(slices, name):
    wanted = experiment(name, slices, CHOICES)
    tested = {mark_of(scan) for scan in wanted.test}
    assert tested == {
        mark_of(scan) for scan in slices.select(split="held-out") if scan.dataset == wanted.test[0].dataset
    }
    for recipes in wanted.arms.values():
        for recipe in recipes:
            assert not tested & {*recipe.scans, *recipe.styles}
    assert set(wanted.default) <= set(wanted.arms) == set(wanted.meaning)
    assert wanted.reference in wanted.default


@pytest.mark.parametrize(("name", "arm"), [("3.2", "S(FLAIR)"), ("3.3", "S"), ("3.3", "H"), ("3.3", "RL-painted")])
def test_styles_of_the_target_people_come_without_their_labels(slices, name, arm):
    choices = Choices(**{**vars(CHOICES), "styles": "target"})
    wanted = experiment(name, slices, choices)
    tested = {mark_of(scan) for scan in wanted.test}
    assert set(wanted.arms[arm][0].styles) == tested
    assert all(not tested & set(recipe.scans) for recipes in wanted.arms.values() for recipe in recipes)
    # What is real stays what it was, so that both kinds of styles are held against the same.
    usual = experiment(name, slices, CHOICES)
    assert wanted.arms[wanted.reference] == usual.arms[wanted.reference]


def test_experiments_share_what_is_the_same(slices):
    first, second = experiment("3.1", slices, CHOICES), experiment("3.2", slices, CHOICES)
    assert first.arms["R"] == second.arms["R(T1)"]
    assert first.arms["S"] == second.arms["S(T1)"]
    assert first.arms["DR"] == second.arms["DR"]
    assert first.arms["R"] != second.arms["R(target)"]


def test_new_weights_change_only_what_they_paint(slices):
    newer = Choices(**{**vars(CHOICES), "weights": "w2"})
    for name in EXPERIMENTS:
        before, after = experiment(name, slices, CHOICES), experiment(name, slices, newer)
        for arm, recipes in before.arms.items():
            for old, new in zip(recipes, after.arms[arm], strict=True):
                assert (old.key == new.key) == (old.kind in (REAL, SIMULATED))


def test_pairs_that_become_other_ones_are_made_anew():
    drawn = Recipe(SYNTHETIC, ("t1",), weights="w1", version=1)
    assert drawn.key != replace(drawn, version=2).key


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_only_what_weights_make_has_their_version(slices, name):
    for recipes in experiment(name, slices, CHOICES).arms.values():
        for recipe in recipes:
            assert recipe.version == (PAIRS_VERSION if recipe.weights else 0)
            assert bool(recipe.weights) == (recipe.kind not in (REAL, SIMULATED))


def test_the_hybrid_is_both_sets(slices):
    wanted = experiment("3.3", slices, CHOICES)
    assert wanted.arms["H"] == (*wanted.arms["S"], *wanted.arms["R"])
    assert [recipe.kind for recipe in wanted.arms["H"]] == [SYNTHETIC, REAL]
    assert wanted.arms["S"][0].tumour


def test_few_patients_are_few_and_drawn_by_the_seed(tmp_path):
    from brainspade_cli.slices import create_slice_set

    create_slice_set(tmp_path)
    for number in range(9):
        make_scan(tmp_path, number, population="tumour", held_out=number == 8)
    slices = open_slice_set(tmp_path)
    drawn = [experiment("3.3", slices, Choices(**{**vars(CHOICES), "seed": seed})) for seed in (0, 0, 1)]
    people = [set(wanted.arms["R"][0].scans) for wanted in drawn]
    assert len(people[0]) == FEW_PATIENTS
    assert len(experiment("3.3", slices, replace(CHOICES, people=2)).arms["R"][0].scans) == 2
    assert people[0] == people[1] != people[2]


def test_as_few_healthy_people_as_chosen_are_real_and_give_the_style(slices):
    everyone, one = (experiment("3.1", slices, replace(CHOICES, people=people)) for people in (None, 1))
    for arm in ("R", "S", "H", "DR"):
        assert one.arms[arm] != everyone.arms[arm]
    person = {mark for recipe in one.arms["H"] for mark in (*recipe.scans, *recipe.styles)}
    assert len(person) == 1 < len(set(everyone.arms["R"][0].scans))
    assert experiment("3.2", slices, replace(CHOICES, people=1)).arms["R(T1)"] == one.arms["R"]
    assert experiment("3.1", slices, replace(CHOICES, people=99)).arms == everyone.arms


@pytest.mark.parametrize(("name", "arm"), [("3.1", "S"), ("3.2", "S(FLAIR)"), ("3.2", "S(T1)"), ("3.3", "S")])
def test_as_few_people_as_chosen_give_the_style_and_nothing_else_changes(slices, name, arm):
    everyone, one = (experiment(name, slices, replace(CHOICES, style_people=people)) for people in (None, 1))
    (style,) = one.arms[arm][0].styles
    assert style in everyone.arms[arm][0].styles
    (person,) = {scan.person for scan in slices.scans if mark_of(scan) == style}
    assert f": those of {person}" in one.meaning[arm]
    assert one.meaning[arm].replace(f": those of {person}", "") == everyone.meaning[arm]
    for other, recipes in everyone.arms.items():
        styled = any(recipe.styles for recipe in recipes)
        assert (recipes == one.arms[other]) == (not styled)
        assert [recipe.scans for recipe in recipes] == [recipe.scans for recipe in one.arms[other]]


def test_datasets_that_are_not_there_are_named(slices):
    with pytest.raises(InputError, match=r"no labelled train scans of dataset nobody.*rings"):
        experiment("3.1", slices, Choices(**{**vars(CHOICES), "healthy": "nobody"}))


def test_the_table_that_the_guide_shows_gives_every_experiment_its_people(tmp_path):
    (table,) = re.findall(r"```\n(subject\t.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    (tmp_path / "people.tsv").write_text(table)
    for name in re.findall(r"\S+\.nii\.gz", table):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    scans = find_scans(tmp_path / "people.tsv")
    parts = {("oasis", "train"), ("oasis", "held-out"), ("brats", "train"), ("brats", "held-out")}
    assert {(scan.dataset, scan.split) for scan in scans} == parts
    # Without these nobody's deep grey matter and brainstem are known.
    assert any(scan.regions for scan in scans if scan.split == "train")
    assert all({"t1", "flair"} <= set(scan.images) and scan.tumour for scan in scans if scan.dataset == "brats")
