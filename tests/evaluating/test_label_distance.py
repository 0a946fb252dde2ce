"""The distance of two sets of labels: what it must see, and what it must not."""

import numpy as np
import pytest

from brainspade_cli.evaluating.label_distance import label_distance
from brainspade_cli.evaluating.label_statistics import describe_labels
from tests.sampling.parts import ellipse_label


def table(*, shifts=range(10), lesions=(False,), heights=None, people=None):
    labels = [ellipse_label(lesions[place % len(lesions)], shift) for place, shift in enumerate(shifts)]
    return describe_labels(labels, positions=heights, people=people)


def test_a_set_is_at_no_distance_from_itself():
    one = table(lesions=(False, True), heights=[0.0] * 6 + [30.0] * 4)
    found = label_distance(one, one)
    assert found.summary.value == pytest.approx(0, abs=1e-12)
    assert found.summary.low == pytest.approx(0, abs=1e-12)
    assert found.summary.within is True


def test_a_distance_is_in_standard_deviations_of_the_real():
    found = label_distance(table(shifts=range(20, 30)), table())
    moved = found.statistics["place/x"]
    # The frame is wide enough that nothing is cut off: the brain moves by 20 pixels.
    assert moved.value == pytest.approx(20 / found.moments["place/x"][3], rel=0.01)
    assert moved.low <= moved.value <= moved.high
    assert moved.within is False
    assert found.families["place"].value == moved.value
    assert found.summary.within is False


def test_the_share_of_lesions_is_nobodys_fault():
    many, few = table(lesions=(True, True, True, False)), table(lesions=(True, False, False, False))
    found = label_distance(many, few)
    assert found.statistics["area/wm"].value < 0.05
    assert found.statistics["area/tumour"].value < 0.05


def test_slices_are_compared_at_their_own_height():
    heights = [0.0] * 5 + [50.0] * 5
    shifts = [0] * 5 + [40] * 5
    real = table(shifts=shifts, heights=heights)
    low_only = table(shifts=[0] * 10, heights=[0.0] * 10)
    found = label_distance(low_only, real)
    assert found.statistics["place/x"].value == pytest.approx(0, abs=1e-6)
    assert found.statistics["position/height"].value == pytest.approx(1)
    swapped = label_distance(table(shifts=shifts[::-1], heights=heights), real)
    assert swapped.statistics["place/x"].value == pytest.approx(2, rel=0.01)


def test_without_heights_everything_is_compared_with_everything():
    found = label_distance(table(), table(heights=[float(place) for place in range(10)]))
    assert "position/height" not in found.statistics
    assert found.statistics["place/x"].value == pytest.approx(0, abs=1e-9)


def test_one_person_gives_no_yardstick_and_slices_of_nobody_do():
    assert label_distance(table(), table(people=["a"] * 10)).summary.within is None
    assert label_distance(table(), table()).summary.within is True


def test_a_seed_gives_the_same_figures_and_another_one_others():
    made, real = table(shifts=range(3, 13)), table()
    assert label_distance(made, real, seed=1) == label_distance(made, real, seed=1)
    assert label_distance(made, real, seed=1).summary.low != label_distance(made, real, seed=2).summary.low


def test_other_classes_and_nothing_to_compare_are_refused():
    with pytest.raises(ValueError, match="classes"):
        label_distance(table(), describe_labels([np.zeros((9, 9), np.uint8)], names=("background", "lung")))
    with pytest.raises(ValueError, match="varies"):
        label_distance(table(shifts=[0] * 4), table(shifts=[0] * 4))
