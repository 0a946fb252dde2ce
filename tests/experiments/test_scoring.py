import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from scoring import Score, assemble, measure, paired_p, summarise, table_of

LINE = st.integers(0, 2)


def scored(arm, training, person, scan, dice):
    return Score(arm, training, person, scan, "csf", dice, 0.9, 0.8, 0.7)


def test_scores_have_known_answers():
    truth = np.array([[1, 1, 1, 0], [0, 0, 2, 2]], np.uint8)
    predicted = np.array([[1, 1, 0, 1], [0, 0, 2, 1]], np.uint8)
    everywhere = np.ones(truth.shape, bool)
    found = measure(predicted, truth, 1, everywhere)
    assert found == {"dice": 4 / 7, "accuracy": 5 / 8, "precision": 2 / 4, "recall": 2 / 3}
    # Without the two pixels that were found wrongly, precision is whole.
    counted = ~((predicted == 1) & (truth != 1))
    assert measure(predicted, truth, 1, counted)["precision"] == 1
    assert measure(predicted, truth, 1, counted)["accuracy"] == 5 / 6


def test_what_cannot_be_divided():
    nothing, something = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    everywhere = np.ones((2, 2), bool)
    assert set(measure(nothing, nothing, 1, everywhere).values()) == {1.0}
    assert set(measure(nothing, something, 1, everywhere).values()) == {0.0}
    assert set(measure(something, nothing, 1, everywhere).values()) == {0.0}


@given(arrays.arrays(np.uint8, (3, 4), elements=LINE), arrays.arrays(np.uint8, (3, 4), elements=LINE))
def test_dice_is_symmetric_and_the_harmonic_mean_of_precision_and_recall(first, second):
    everywhere = np.ones(first.shape, bool)
    one, other = measure(first, second, 1, everywhere), measure(second, first, 1, everywhere)
    assert one["dice"] == other["dice"]
    assert (one["precision"], one["recall"]) == (other["recall"], other["precision"])
    if one["dice"]:
        assert one["dice"] == pytest.approx(2 / (1 / one["precision"] + 1 / one["recall"]))


def test_slices_come_back_in_their_order_whatever_order_they_came_in():
    volume = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    planes = {k: volume[:, :, k] for k in (2, 0, 3, 1)}
    assert np.array_equal(assemble(planes, 4), volume)
    with pytest.raises(ValueError, match="missing"):
        assemble({k: planes[k] for k in (0, 1, 3)}, 4)
    with pytest.raises(ValueError, match="volume of 3"):
        assemble(planes, 3)


def test_scans_of_a_person_count_once():
    rows = [
        scored("R", 0, "ann", "a1", 0.8),
        scored("R", 0, "ann", "a2", 0.6),
        scored("R", 0, "bob", "b1", 0.9),
        scored("R", 1, "ann", "a1", 0.9),
        scored("R", 1, "ann", "a2", 0.9),
        scored("R", 1, "bob", "b1", 0.5),
    ]
    values = table_of(rows, "dice")["R", "csf"]
    assert np.allclose(values, [[0.7, 0.9], [0.9, 0.5]])
    summary = summarise(values)
    assert summary.mean == pytest.approx(0.75)
    assert summary.over_people == pytest.approx(np.std([0.8, 0.7], ddof=1))
    assert summary.over_trainings == pytest.approx(np.std([0.8, 0.7], ddof=1))
    with pytest.raises(ValueError, match="different people"):
        table_of(rows[:-1], "dice")


def test_one_training_has_no_spread_over_trainings():
    summary = summarise(np.array([[0.7], [0.8]]))
    assert np.isnan(summary.over_trainings)
    assert summary.over_people == pytest.approx(np.std([0.7, 0.8], ddof=1))


def test_the_t_test_is_scipys_paired_two_sided_one():
    rng = np.random.default_rng(0)
    first, second = rng.random((6, 3)), rng.random((6, 3)) + 0.2
    expected = stats.ttest_rel(first.mean(axis=1), second.mean(axis=1)).pvalue
    assert paired_p(first, second) == pytest.approx(expected)
    assert paired_p(second, first) == pytest.approx(expected)
    # By hand: differences 1, 2, 3 have t = 2 * sqrt(3) on 2 degrees of freedom.
    by_hand = paired_p(np.array([[1.0], [2.0], [3.0]]), np.zeros((3, 1)))
    assert by_hand == pytest.approx(2 * stats.t.sf(2 * np.sqrt(3), 2))
    assert np.isnan(paired_p(first[:1], second[:1]))
    assert np.isnan(paired_p(first, first))
