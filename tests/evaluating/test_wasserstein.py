"""Wasserstein distances of weighted values, against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from brainspade_cli.evaluating.wasserstein import Comparison, wasserstein

COUNT = 12
values = arrays.arrays(np.float64, COUNT, elements=st.floats(-5, 5, width=32))
counts = arrays.arrays(np.int64, COUNT, elements=st.integers(0, 3))


@settings(max_examples=50)
@given(values, counts, counts)
def test_of_one_kind_it_is_that_of_scipy(numbers, first, second):
    if first.sum() == 0 or second.sum() == 0:
        return
    found = wasserstein(numbers, first[None].astype(float), second[None].astype(float), np.zeros(COUNT, int))
    assert found[0] == pytest.approx(stats.wasserstein_distance(numbers, numbers, first, second), abs=1e-9)


def test_over_kinds_it_is_a_mean_by_their_shares():
    numbers = np.array([0.0, 0.0, 10.0, 1.0, 1.0, 14.0])
    kinds = np.array([1, 1, 2, 1, 1, 2])
    first, second = np.array([[1, 1, 1, 0, 0, 0.0]]), np.array([[0, 0, 0, 1, 1, 1.0]])
    assert wasserstein(numbers, first, second, kinds)[0] == pytest.approx(2 / 3 * 1 + 1 / 3 * 4)


def test_kinds_of_one_set_alone_and_missing_values_are_left_out():
    numbers = np.array([0.0, 99.0, np.nan, 2.0, np.nan])
    kinds = np.array([0, 1, 0, 0, 0])
    first, second = np.array([[1, 1, 1, 0, 0.0]]), np.array([[0, 0, 0, 1, 1.0]])
    assert wasserstein(numbers, first, second, kinds)[0] == pytest.approx(2)


def test_without_a_kind_in_common_there_is_no_distance():
    assert np.isnan(wasserstein(np.array([0.0, 1.0]), np.array([[1, 0.0]]), np.array([[0, 1.0]]), np.array([0, 1])))


def test_resampling_people_is_wider_than_resampling_slices():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(8), 20)
    real = rng.normal(size=8)[people] + 0.1 * rng.normal(size=160)
    made, kinds = rng.normal(size=200), np.zeros(200, int)
    spreads = []
    for whose in (people, np.arange(160)):
        drawn, halves = Comparison(np.arange(200), whose).distances(made, real, kinds, kinds[:160])
        assert halves is not None
        spreads.append((drawn[1:].std(), np.median(halves)))
    assert spreads[0][0] > 1.5 * spreads[1][0]
    assert spreads[0][1] > 1.5 * spreads[1][1]
