"""Distances and neighbourhoods of clouds of points whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest

from brainspade_cli.evaluating import fidelity as module
from brainspade_cli.evaluating.collect import ImageTable
from brainspade_cli.evaluating.diversity import similarity
from brainspade_cli.evaluating.feature_sets import FeatureSet
from brainspade_cli.evaluating.fidelity import fidelity
from brainspade_cli.evaluating.frechet import frechet
from brainspade_cli.evaluating.kernel import kernel_distance
from brainspade_cli.evaluating.neighbourhoods import neighbourhoods

DIMENSIONS = 6


def cloud(count=300, centre=0.0, spread=1.0, seed=0, people=None):
    rng = np.random.default_rng(seed)
    whose = np.arange(count) if people is None else np.repeat(np.arange(people), count // people)
    return FeatureSet(centre + spread * rng.standard_normal((count, DIMENSIONS)), whose)


def heads(people, slices, seed):
    """People whose slices resemble each other far more than those of others."""
    rng = np.random.default_rng(seed)
    whose = np.repeat(np.arange(people), slices)
    points = rng.standard_normal((people, DIMENSIONS))[whose] + 0.05 * rng.standard_normal((len(whose), DIMENSIONS))
    return FeatureSet(points, whose)


def drawn(measure, made, real):
    return measure(made, real, np.random.default_rng(0))


def test_frechet_of_gaussians_is_what_the_formula_says():
    # Exact clouds: two points a dimension have known means and a known covariance.
    corners = np.vstack([np.eye(DIMENSIONS), -np.eye(DIMENSIONS)]) * np.sqrt(DIMENSIONS)
    one = FeatureSet(corners, np.arange(12))
    other = FeatureSet(3 * corners + 2, np.arange(12))
    assert drawn(frechet, one, one).value == pytest.approx(0, abs=1e-9)
    assert drawn(frechet, other, one).value == pytest.approx(2**2 + (3 - 1) ** 2)


def test_the_kernel_distance_is_about_zero_for_like_and_above_for_unlike():
    values = [drawn(kernel_distance, cloud(seed=seed), cloud(seed=seed + 100)).value for seed in range(8)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(8) + 1e-3
    assert drawn(kernel_distance, cloud(centre=1.0), cloud(seed=1)).value > 10 * np.abs(values).max()


def test_slices_of_one_head_do_not_make_people_look_unlike():
    """With pairs of one head counted, two groups of six people would look far apart."""
    values = [drawn(kernel_distance, heads(6, 20, seed), heads(6, 20, seed + 50)).value for seed in range(12)]
    alone = [
        drawn(
            kernel_distance,
            *(FeatureSet(part.features, np.arange(120)) for part in (heads(6, 20, seed), heads(6, 20, seed + 50))),
        ).value
        for seed in range(12)
    ]
    assert np.mean(alone) > np.mean(values) + 2 * np.std(values) / np.sqrt(12)


def test_like_sets_are_among_each_other_and_far_ones_are_not():
    near = drawn(neighbourhoods, cloud(), cloud(seed=1))
    assert all(near[name].value > 0.85 for name in ("precision", "recall", "coverage"))
    assert near["density"].value == pytest.approx(1, abs=0.2)
    far = drawn(neighbourhoods, cloud(centre=50), cloud(seed=1))
    assert all(item.value == 0 for item in far.values())


def test_a_narrow_set_is_precise_but_recalls_little():
    narrow = drawn(neighbourhoods, cloud(spread=0.2), cloud(seed=1))
    assert narrow["precision"].value > 0.95
    assert narrow["recall"].value < 0.1
    wide = drawn(neighbourhoods, cloud(spread=3), cloud(seed=1))
    assert wide["precision"].value < 0.3
    assert wide["recall"].value > 0.9


def test_neighbours_are_other_peoples():
    """Among 20 slices of a head, the 5 nearest would be its own, and no other person's slice would lie among them."""
    found = drawn(neighbourhoods, heads(15, 20, 0), heads(15, 20, 1))
    alone = drawn(
        neighbourhoods,
        *(FeatureSet(part.features, np.arange(300)) for part in (heads(15, 20, 0), heads(15, 20, 1))),
    )
    assert alone["precision"].value < 0.1 < 0.3 < found["precision"].value


def test_every_figure_has_an_interval_and_a_yardstick():
    for name, item in fidelity(cloud(120, centre=0.5), heads(6, 20, 3)).items():
        assert item.low <= item.value <= item.high or item.value in (item.low, item.high), name
        assert item.usual is not None, name
        assert item.better == ("low" if name in ("frechet", "kernel") else "high"), name
        assert np.isfinite([item.value, item.low, item.high, item.usual, item.worst_usual]).all(), name


def test_one_person_alone_counts_slice_by_slice():
    for name, item in fidelity(cloud(40), cloud(40, seed=1, people=1)).items():
        assert np.isfinite([item.value, item.low, item.high]).all(), name


def test_large_sets_are_drawn_from_and_the_spread_is_told(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRED", 60)
    found = fidelity(cloud(200), cloud(200, seed=1))
    assert found["frechet"].seed_spread is None
    assert all(found[name].seed_spread > 0 for name in found if name not in ("frechet",))
    assert fidelity(cloud(200), cloud(200, seed=1)) == found
    assert fidelity(cloud(200), cloud(200, seed=1), seed=5) != found


def test_similarity_is_of_different_people_at_like_heights():
    rng = np.random.default_rng(0)
    views = rng.standard_normal((2, 176, 192)).astype(np.float32)
    # Four people with the same two views, one at each height: alike at like heights, and not otherwise.
    table = ImageTable(
        place=np.arange(8),
        heights=np.array([0.0, 40.0] * 4),
        features=FeatureSet(np.zeros((8, 2)), np.repeat(np.arange(4), 2)),
        contrast=np.zeros((8, 1)),
        histograms=np.zeros((8, 3)),
        agreement=np.ones(8),
        styles=("",) * 8,
        kept=np.tile(views, (4, 1, 1)),
        kept_rows=np.arange(8),
    )
    assert similarity(table, None, 0).value == pytest.approx(1, abs=1e-5)
    unknown = similarity(replace(table, heights=np.full(8, np.nan)), None, 0)
    assert unknown.value < 0.9
    assert similarity(replace(table, features=FeatureSet(np.zeros((8, 2)), np.zeros(8, int))), None, 0) is None
    varied = replace(table, kept=rng.standard_normal(table.kept.shape).astype(np.float32))
    assert similarity(varied, table, 0).within is True
    assert similarity(table, varied, 0).within is False
