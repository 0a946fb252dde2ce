import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from brainspade_cli.errors import ScanError
from brainspade_cli.preparing.tissues import _check, cluster, posteriors
from tests.phantoms import t1_of, tissue_phantom

PATH = Path("sub-01_T1w.nii.gz")


@pytest.fixture(scope="module")
def labels():
    return tissue_phantom((4.0, 4.0, 4.0))


def smooth_prior(labels, sigma=2.0):
    """What a population's average looks like beside one brain: 8 mm of blur at 4 mm voxels."""
    return np.stack([ndimage.gaussian_filter((labels == tissue).astype(np.float32), sigma) for tissue in (1, 2, 3)])


def dice(chosen, truth):
    return 2 * (chosen & truth).sum() / (chosen.sum() + truth.sum())


@pytest.mark.parametrize(("contrast", "needed"), [(1.0, 0.97), (0.25, 0.85)])
def test_clustering_finds_each_tissue_under_a_smooth_prior(labels, contrast, needed):
    """At a contrast of 0.25 neighbouring tissues are 12.5 apart under noise of 4."""
    inside = labels > 0
    noise = np.random.default_rng(1).normal(0, 4, labels.shape)
    image = np.where(inside, 90 + contrast * (np.array([0, 40, 90, 140])[labels] - 90) + noise, 0).astype(np.float32)
    prior = smooth_prior(labels)
    maps = cluster(image, inside, prior, 0.3)
    assert maps.shape == (3, *labels.shape)
    assert np.allclose(maps.sum(axis=0)[inside], 1, atol=1e-5)
    assert (maps[:, ~inside] == 0).all()
    chosen = np.where(inside, maps.argmax(axis=0) + 1, 0)
    for tissue in (1, 2, 3):
        assert dice(chosen == tissue, labels == tissue) > needed
        guess = np.where(inside, prior.argmax(axis=0) + 1, 0)
        assert dice(chosen == tissue, labels == tissue) > dice(guess == tissue, labels == tissue)


def test_a_flat_part_of_the_prior_is_filled_in_from_the_image(labels):
    inside = labels > 0
    prior = smooth_prior(labels)
    prior[..., labels.shape[2] * 2 // 3 :] = 0
    chosen = cluster(t1_of(labels), inside, prior, 0.3).argmax(axis=0) + 1
    above = inside.copy()
    above[..., : labels.shape[2] * 2 // 3] = False
    assert (chosen == labels)[above].mean() > 0.95


def test_without_ants_posteriors_come_from_the_t1_as_it_is(labels, monkeypatch):
    monkeypatch.setitem(sys.modules, "ants", None)
    inside = labels > 0
    t1, prior = t1_of(labels), smooth_prior(labels)
    assert np.allclose(posteriors(t1, inside, prior, 0.3, PATH), cluster(t1, inside, prior, 0.3), atol=1e-3)


def one_hot(chosen):
    return np.stack([(chosen == tissue).astype(np.float32) for tissue in range(3)])


def column(*counts):
    """A mask, and class numbers 0, 1, 2 in it, so many voxels each."""
    chosen = np.repeat(np.arange(3), counts).reshape(-1, 1, 1)
    return chosen, np.ones(chosen.shape, bool)


def test_a_plausible_clustering_passes_the_checks():
    chosen, inside = column(20, 45, 35)
    _check(
        one_hot(chosen), chosen + np.random.default_rng(0).normal(0, 0.1, chosen.shape), inside, one_hot(chosen), PATH
    )


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((2, 58, 40), "2% CSF"),
        ((50, 30, 20), "50% CSF"),
        ((30, 25, 45), "25% GM"),
        ((10, 70, 20), "70% GM"),
        ((40, 45, 15), "15% WM"),
        ((10, 35, 55), "55% WM"),
    ],
)
def test_volumes_that_no_adult_has_are_refused(counts, reason):
    chosen, inside = column(*counts)
    with pytest.raises(ScanError, match=reason) as caught:
        _check(one_hot(chosen), chosen.astype(np.float32), inside, one_hot(chosen), PATH)
    assert PATH.name in str(caught.value)


@pytest.mark.parametrize(("elsewhere", "reason"), [((0, 2, 1), "GM overlaps"), ((2, 1, 0), "WM overlaps")])
def test_tissues_that_lie_elsewhere_than_in_the_population_are_refused(elsewhere, reason):
    chosen, inside = column(20, 45, 35)
    with pytest.raises(ScanError, match=reason):
        _check(one_hot(chosen), chosen.astype(np.float32), inside, one_hot(np.array(elsewhere)[chosen]), PATH)


@pytest.mark.parametrize("brightness", [(0, 100, 102), (0, 100, 50)])
def test_white_matter_no_brighter_than_grey_is_refused(brightness):
    chosen, inside = column(20, 45, 35)
    image = np.array(brightness)[chosen] + np.random.default_rng(0).normal(0, 10, chosen.shape)
    with pytest.raises(ScanError, match="too little to tell them apart"):
        _check(one_hot(chosen), image, inside, one_hot(chosen), PATH)
