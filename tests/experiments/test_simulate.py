import numpy as np
import pytest
import simulate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulate import deform, paint_at_random

from brainspade_cli.anatomy import CSF, GM, OEDEMA, WM
from brainspade_cli.slices import BACKGROUND_VALUE
from tests.sampling.parts import ellipse_label


@pytest.fixture
def as_it_is(monkeypatch):
    """No deformation, but for a flip."""
    for name in ("ROTATION", "SCALING", "SHEAR", "TRANSLATION", "ELASTIC"):
        monkeypatch.setattr(simulate, name, 0.0)


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.booleans())
@example(877806, True)
def test_pairs_are_z_scored_brains_on_their_deformed_label(seed, tumour):
    label, images = simulate.simulate(ellipse_label(tumour), 2, np.random.default_rng(seed))
    brain = label != 0
    assert label.dtype == np.uint8
    assert set(np.unique(label)) <= set(np.unique(ellipse_label(tumour)))
    assert images.shape == (2, *label.shape)
    assert images.dtype == np.float32
    assert ((images != BACKGROUND_VALUE) == brain).all()
    assert np.allclose([image[brain].mean() for image in images], 0, atol=0.02)
    assert np.allclose([image[brain].std() for image in images], 1, atol=0.02)


def test_the_generator_decides_everything():
    first, second = (simulate.simulate(ellipse_label(), 1, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    third = simulate.simulate(ellipse_label(), 1, np.random.default_rng(4))
    assert not np.array_equal(first[0], third[0])
    assert not np.array_equal(first[1], third[1])


def test_flips_are_from_left_to_right_and_as_frequent_as_not(as_it_is):
    label = ellipse_label(shift=20)
    flips = [deform(label, np.random.default_rng(seed)) for seed in range(40)]
    kept = [np.array_equal(flip, label) for flip in flips]
    assert all(one or np.array_equal(flip, label[::-1]) for one, flip in zip(kept, flips, strict=True))
    assert 8 < sum(kept) < 32


def test_deformed_brains_keep_their_tissues_and_about_their_size():
    label = ellipse_label(tumour=True)
    sizes = []
    for seed in range(20):
        moved = deform(label, np.random.default_rng(seed))
        assert set(np.unique(moved)) == set(np.unique(label))
        sizes.append((moved > 0).sum() / (label > 0).sum())
    assert 0.6 < min(sizes) < 0.95 < 1.05 < max(sizes) < 1.6


def test_contrast_is_random_and_even_of_its_sign():
    label = ellipse_label()
    means = []
    for seed in range(60):
        image = paint_at_random(label, np.random.default_rng(seed))
        means.append([image[label == tissue].mean() for tissue in (CSF, GM, WM)])
    csf, gm, wm = np.array(means).T
    for difference in (csf - gm, gm - wm, csf - wm):
        assert 10 < (difference > 0).sum() < 50
        assert difference.std() > 0.5


def test_channels_draw_their_own_contrasts():
    label = ellipse_label(tumour=True)
    pairs = []
    for seed in range(40):
        deformed, images = simulate.simulate(label, 2, np.random.default_rng(seed))
        pairs.append([image[deformed == OEDEMA].mean() for image in images])
    assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 0.5


def test_a_label_without_a_brain_gives_background():
    assert (paint_at_random(np.zeros((8, 8), np.uint8), np.random.default_rng(0)) == BACKGROUND_VALUE).all()


def test_blur_mixes_tissues_and_not_the_background():
    label = ellipse_label()
    brain = label != 0
    blurred = simulate._blurred(np.where(brain, 7.0, 0.0), brain, 2.0)
    assert np.allclose(blurred[brain], 7.0)
