from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from brainspade_cli.errors import ScanError
from brainspade_cli.preparing import channels
from brainspade_cli.preparing.channels import align_channel, mutual_information
from brainspade_cli.preparing.volumes import Volume, sample_onto
from tests.phantoms import affine_of, t1_of, tissue_phantom

SPACING = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def t1():
    data = t1_of(tissue_phantom())
    return Volume(Path("t1.nii.gz"), data, affine_of(data.shape, SPACING))


def flair_of(t1, shift=(0.0, 0.0, 0.0), kept=slice(None), noise=3.0):
    """A channel of other contrast in the T1's outline, its content `shift` mm off; stored from `kept` along z."""
    brightness = np.array([0, 20, 110, 80], np.float32)[tissue_phantom()]
    moved = ndimage.shift(brightness, np.array(shift) / SPACING, order=1)
    noisy = moved + np.random.default_rng(1).normal(0, noise, moved.shape)
    data = np.where(t1.data > 0, np.clip(noisy, 1, None), 0).astype(np.float32)
    affine = t1.affine.copy()
    affine[2, 3] += (kept.start or 0) * SPACING[2]
    return Volume(Path("flair.nii.gz"), np.ascontiguousarray(data[..., kept]), affine)


def tilt(degrees):
    """A turn about x (3 x 3)."""
    angle = np.radians(degrees)
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def found(monkeypatch, shift):
    """Let the search find a shift in mm, and say where it looked."""
    looked = []

    def refine(reference, channel, inside):
        looked.append(inside)
        transform = np.eye(4)
        transform[:3, 3] = shift
        return transform

    monkeypatch.setattr(channels, "refine_rigid", refine)
    return looked


def test_a_channel_follows_the_transform_that_makes_it_agree(t1, monkeypatch):
    looked = found(monkeypatch, (0, 4, 0))
    transform, note = align_channel(t1, flair_of(t1, (0, 4, 0)), t1.data > 0)
    assert transform[:3, 3] == pytest.approx([0, 4, 0])
    assert note == "flair.nii.gz was moved by up to 4.0 mm onto t1.nii.gz."
    brain = t1.data > 0
    rim = brain & ~ndimage.binary_erosion(brain, iterations=2)
    assert looked[0].sum() > 0.4 * brain.sum()
    assert not (looked[0] & rim).any()


@pytest.mark.parametrize("shift", [(0, -4, 0), (0, 4, 30)])
def test_a_channel_stays_where_the_search_made_it_worse(t1, monkeypatch, shift):
    found(monkeypatch, shift)
    transform, note = align_channel(t1, flair_of(t1, (0, 4, 0)), t1.data > 0)
    assert (transform == np.eye(4)).all()
    assert "flair.nii.gz lies where its header says" in note


@pytest.mark.parametrize("shift", [(0, 1, 0), (0, 3, 0)])
def test_noise_that_interpolation_takes_off_is_no_gain(t1, monkeypatch, shift):
    """A wrong move by half a voxel averages noise away; as it is, mutual information rises by that."""
    found(monkeypatch, shift)
    transform, _ = align_channel(t1, flair_of(t1, noise=25.0), t1.data > 0)
    assert (transform == np.eye(4)).all()


def test_zeros_in_the_brain_and_padding_below_zero_are_told_apart(t1, monkeypatch):
    looked = found(monkeypatch, (0, 4, 0))
    holes = flair_of(t1, (0, 4, 0))
    holes.data[np.random.default_rng(2).random(holes.data.shape) < 0.01] = 0
    align_channel(t1, holes, t1.data > 0)
    assert len(looked) == 1
    slab = flair_of(t1)
    slab.data[..., :22] = slab.data[..., 34:] = 0
    slab.data[0, 0, 0] = -1
    _, note = align_channel(t1, slab, t1.data > 0)
    assert len(looked) == 1
    assert "too little of the brain" in note


def test_a_channel_stays_where_ants_fails(t1, monkeypatch):
    def fail(reference, channel, inside):
        raise ScanError(f"{channel.path} could not be aligned (error 1).")

    monkeypatch.setattr(channels, "refine_rigid", fail)
    transform, note = align_channel(t1, flair_of(t1), t1.data > 0)
    assert (transform == np.eye(4)).all()
    assert note == "flair.nii.gz could not be aligned (error 1). It lies where its header says."


def test_a_channel_of_a_few_slices_is_not_searched_for(t1, monkeypatch):
    looked = found(monkeypatch, (0, 4, 0))
    transform, note = align_channel(t1, flair_of(t1, kept=slice(22, 34)), t1.data > 0)
    assert not looked
    assert (transform == np.eye(4)).all()
    assert "too little of the brain" in note


def test_mutual_information_does_not_mind_the_contrast():
    values = np.random.default_rng(0).normal(size=20_000)
    assert mutual_information(values, -values) == pytest.approx(np.log(32), abs=1e-3)
    assert mutual_information(values, np.random.default_rng(1).normal(size=20_000)) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.4, -1.5, 1.0)])
def test_ants_finds_a_channel_inside_an_outline_that_stands_still(t1, shift):
    pytest.importorskip("ants", reason="needs the extra brainspade[register]")
    transform, _ = align_channel(t1, flair_of(t1, shift), t1.data > 0)
    assert transform[:3, 3] == pytest.approx(shift, abs=0.3)
    assert transform[:3, :3] == pytest.approx(np.eye(3), abs=0.02)


@pytest.mark.slow
def test_ants_finds_a_channel_of_thick_slices_on_a_grid_of_its_own(t1):
    """Turned by 5 degrees about z and moved; stored in slices of 4 mm across the T1's."""
    pytest.importorskip("ants", reason="needs the extra brainspade[register]")
    turn, still = np.radians(5.0), flair_of(t1)
    true = np.eye(4)
    true[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    true[:3, 3] = 3.0, -2.0, 4.0
    shape, affine = (70, 84, 36), affine_of((70, 84, 36), (2.2, 2.2, 4.0)) @ nib.affines.from_matvec(tilt(8.0))
    data = sample_onto(still.data, still.affine, shape, np.linalg.inv(true) @ affine)
    transform, _ = align_channel(t1, Volume(Path("flair.nii.gz"), data, affine), t1.data > 0)
    points = np.array([[0, 0, 0, 1], [40, 0, 0, 1], [0, -50, 0, 1], [0, 0, 30, 1]]).T
    assert np.abs(transform @ points - true @ points).max() < 0.7
