"""The parts of an audit: folds that no change of contrast alters, maps that are found again, a threshold that holds."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from brainspade_cli.auditing.alignment import align_fine, align_rough, rotation, warp
from brainspade_cli.auditing.calibration import summary, threshold
from brainspade_cli.auditing.canonical import FRAME, centred, middle
from brainspade_cli.auditing.cuts import cut_image, cut_label
from brainspade_cli.auditing.descriptors import Descriptors
from brainspade_cli.auditing.pool import fold_block
from tests.auditing.folded import image_of, label_of


@pytest.fixture(scope="module")
def folds():
    return fold_block([cut_label(label_of(person, 0)) for person in range(4)])


@pytest.fixture(scope="module")
def descriptors():
    return Descriptors()


@settings(max_examples=15)
@given(st.floats(0.01, 1000), st.floats(-500, 500), st.integers(-20, 20), st.integers(-20, 20))
def test_scale_offset_and_place_of_an_image_change_nothing(scale, offset, x, y):
    image = image_of(label_of(0, 0), 0).astype(np.float64)
    changed = np.roll(np.where(image > 0, image * scale + offset, 1e6), (x, y), axis=(0, 1))
    first, second = fold_block([cut_image(image), cut_image(changed)])
    assert torch.allclose(first, second, atol=2e-2)


@settings(max_examples=15)
@given(st.floats(-11, 11), st.booleans(), st.floats(-3, 3), st.floats(-3, 3))
@example(0.0, False, 0.5, 0.5)
def test_a_rigid_motion_is_found_again(angle, mirrored, x, y):
    own = fold_block([cut_label(label_of(0, 0))])
    motion = rotation(torch.tensor([angle]), torch.tensor([mirrored]))
    motion[0, :, 2] = torch.tensor([x, y])
    moved = warp(own[:, None], motion)[:, 0]
    nearest = rotation(torch.tensor([4.0 * round(angle / 4)]), torch.tensor([mirrored]))
    _, maps = align_rough(moved, own, nearest)
    score, found = align_fine(moved, own, maps)
    assert score > 0.95
    assert torch.allclose(found, motion, atol=0.3)


def test_agreement_does_not_depend_on_the_strength_of_the_folds(folds):
    still = rotation(torch.zeros(3), torch.zeros(3, dtype=torch.bool))
    for align in (align_rough, align_fine):
        for first, second in ((folds[:3], folds[:3]), (folds[:3], folds[1:])):
            score, _ = align(first, second, still)
            assert torch.allclose(align(0.8 * first, second, still)[0], score, atol=1e-3)
            assert torch.allclose(align(first, 0.8 * second, still)[0], score, atol=1e-3)


def test_maps_send_pixels_where_they_say():
    picture = torch.zeros(1, 1, *FRAME)
    picture[0, 0, 50, 30] = 1
    motion = rotation(torch.tensor([0.0]), torch.tensor([False]))
    motion[0, :, 2] = torch.tensor([3.0, -5.0])
    assert warp(picture, motion)[0, 0, 47, 35] == pytest.approx(1, abs=1e-3)
    turned = warp(picture, rotation(torch.tensor([180.0]), torch.tensor([False])))
    assert turned[0, 0, FRAME[0] - 51, FRAME[1] - 31] == pytest.approx(1, abs=1e-3)
    mirror = warp(picture, rotation(torch.tensor([0.0]), torch.tensor([True])))
    assert mirror[0, 0, FRAME[0] - 51, 30] == pytest.approx(1, abs=1e-3)


def test_the_search_knows_every_motion_that_it_looks_for(folds, descriptors):
    plain = descriptors.plain(folds)
    for variant in range(0, len(descriptors.starts), 5):
        start = descriptors.starts[variant].expand(len(folds), 2, 3)
        # What is looked for, laid over its original by `start`.
        copies = warp(folds[:, None], start)[:, 0]
        agreement = (descriptors.moved(copies) * plain[:, None]).sum(2)
        assert (agreement.argmax(1) == variant).all() or (agreement[:, variant] > 0.95).all()
        assert (agreement.amax(1) > 0.9).all()


def test_different_people_stay_apart(folds):
    still = rotation(torch.zeros(3), torch.zeros(3, dtype=torch.bool))
    score, _ = align_fine(folds[:3], folds[1:], still)
    assert (score < 0.6).all()


def test_a_brain_beyond_the_frame_is_cut_off_without_harm():
    big = np.ones((400, 300), bool)
    assert centred(big.astype(np.float32), big)[1].all()
    assert middle(np.zeros((10, 20), bool)) == (5, 10)
    assert fold_block([centred(np.zeros((10, 20), np.float32), np.zeros((10, 20), bool))]).eq(0).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.5), st.floats(0.02, 0.1))
def test_the_threshold_lies_beyond_people_and_ignores_a_few_twins(seed, centre, spread):
    scores = np.tanh(np.random.default_rng(seed).normal(np.arctanh(centre), spread, 2000))
    limit = threshold(scores)
    # One slice in a million, as far as 2,000 can tell; now and then the highest of so many lies higher.
    assert 1e-8 < stats.norm.sf((np.arctanh(limit) - np.arctanh(centre)) / spread) < 1e-4
    assert limit < 0.95
    twins = np.concatenate([scores, np.full(60, 0.97)])
    assert limit <= threshold(twins) < 0.96


def test_nobody_to_compare_is_no_threshold():
    with pytest.raises(ValueError, match="no real people"):
        threshold(np.zeros(0))
    assert summary(np.zeros(0)) is None
    assert summary(np.array([0.1, 0.3]))["highest"] == 0.3
