"""What is measured on one image: features, contrast, and what must not matter."""

import numpy as np
import pytest

from brainspade_cli.anatomy import CHANNELS, CSF, GM, WM
from brainspade_cli.evaluating.features import SIZE, FixedFeatures
from brainspade_cli.evaluating.image_statistics import HISTOGRAM_BINS, describe_image, standardise
from tests.sampling.parts import ellipse_label

BRIGHTNESS = np.array([0, 10, 60, 100, 80, 80, 90, 95.0])


@pytest.fixture(scope="module")
def network():
    return FixedFeatures()


@pytest.fixture(scope="module")
def label():
    return ellipse_label()


@pytest.fixture(scope="module")
def image(label):
    rng = np.random.default_rng(0)
    return np.where(label > 0, BRIGHTNESS[label] + 3 * rng.standard_normal(label.shape), 0).astype(np.float32)


def test_scale_and_offset_of_intensities_do_not_count(network, label, image):
    one = describe_image(image, label, CHANNELS, network)
    other = describe_image(np.where(label > 0, 7 * image + 1000, 500), label, CHANNELS, network)
    np.testing.assert_allclose(one.features, other.features, atol=1e-3)
    np.testing.assert_allclose(one.contrast, other.contrast, atol=1e-4)
    assert one.agreement == other.agreement == 1


def test_where_the_brain_stands_does_not_change_its_features(network, label, image):
    one = describe_image(image, label, CHANNELS, network)
    moved = [np.roll(part, (5, -9), axis=(0, 1)) for part in (image, label)]
    np.testing.assert_allclose(one.features, describe_image(*moved, CHANNELS, network).features, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: np.where(image != 0, 200 - image, 0),
        lambda image: np.where(image != 0, image + 20 * np.random.default_rng(1).standard_normal(image.shape), 0),
    ],
    ids=["inverted", "noisy"],
)
def test_features_tell_other_images_apart(network, label, image, change):
    one = describe_image(image, label, CHANNELS, network)
    grain = np.random.default_rng(2).standard_normal(label.shape)
    same = describe_image(np.where(label > 0, BRIGHTNESS[label] + 3 * grain, 0), label, CHANNELS, network)
    other = describe_image(change(image), label, CHANNELS, network)
    assert np.abs(one.features - other.features).max() > 10 * np.abs(one.features - same.features).max()


def test_contrast_is_the_mean_of_each_class(network, label, image):
    found = describe_image(image, label, CHANNELS, network)
    scored, brain = standardise(image)
    assert scored[brain].mean() == pytest.approx(0, abs=1e-4)
    assert scored[brain].std() == pytest.approx(1, abs=1e-4)
    for channel in (CSF, GM, WM):
        assert found.contrast[channel - 1] == pytest.approx(scored[label == channel].mean(), abs=1e-4)
    assert np.isnan(found.contrast[3:]).all()


def test_a_label_beside_its_image_disagrees(network, label, image):
    found = describe_image(image, np.roll(label, 30, axis=0), CHANNELS, network)
    assert 0.6 < found.agreement < 0.95


def test_the_inner_part_is_told_from_the_outer(network, label):
    """A dark ring around a bright middle has as many dark and bright pixels as the other way round."""
    across, along = (np.arange(side) - (side - 1) / 2 for side in label.shape)
    ring = np.hypot(across[:, None] / 65, along[None, :] / 85)
    inside = ring < np.median(ring[label > 0])
    images = [
        np.where(label > 0, np.where(inside == bright, 2.0, 1.0), 0).astype(np.float32) for bright in (True, False)
    ]
    one, other = (describe_image(image, label, CHANNELS, network).features[:24].reshape(2, 12) for image in images)
    np.testing.assert_allclose(one.sum(axis=1), 1, atol=1e-4)
    assert np.abs(one - other).max() > 0.5


@pytest.mark.parametrize("pixels", [0, 1, 40], ids=["empty", "one pixel", "flat"])
def test_images_that_show_nothing_have_features_too(network, label, pixels):
    image = np.zeros(label.shape, np.float32)
    image[90, 100 : 100 + pixels] = 5
    found = describe_image(image, label, CHANNELS, network)
    assert found.features.shape == (SIZE,)
    assert np.isfinite(found.features).all()
    assert found.histogram.shape == (HISTOGRAM_BINS,)
