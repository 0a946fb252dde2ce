import numpy as np
import pytest
from scipy import ndimage

from brainspade_cli.errors import ScanError
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles import scan as style_scan
from brainspade_cli.styles.scan import load_style, neighbour_correlation
from tests.phantoms import save, t1_of, tissue_phantom


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LIA", "PSR"])
def test_slices_are_axial_centred_and_z_scored_whatever_the_orientation(tmp_path, axes):
    style = load_style(save(tmp_path / "t1.nii.gz", t1_of(tissue_phantom()), axes=axes))
    assert style.slices.shape[1:] == SLICE_SHAPE
    inside = style.slices > BACKGROUND_VALUE
    middle = np.argwhere(inside[len(inside) // 2]).mean(axis=0)
    assert middle == pytest.approx((np.array(SLICE_SHAPE) - 1) / 2, abs=3)
    extent = np.ptp(np.argwhere(inside.any(axis=0)), axis=0)
    assert extent == pytest.approx([130, 160], abs=6)
    assert style.slices[inside].mean() == pytest.approx(0, abs=0.2)
    assert style.notes == ()
    assert style.background == 0.0


def test_thick_slices_are_used_as_they_are_and_said(tmp_path):
    spacing = (1.0, 1.0, 5.0)
    style = load_style(save(tmp_path / "flair.nii.gz", t1_of(tissue_phantom(spacing)), spacing))
    assert 10 <= len(style.slices) <= 22
    assert any("thick slices (5.0 mm)" in note.text for note in style.notes)


def test_one_slice_is_a_style_too(tmp_path):
    middle = t1_of(tissue_phantom())[:, :, 32:33]
    style = load_style(save(tmp_path / "t1.nii.gz", middle))
    assert style.slices.shape == (1, *SLICE_SHAPE)


def test_a_head_is_cut_down_to_its_middle_where_no_stripper_is_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "deepbet.bet", None)
    labels = tissue_phantom()
    head = np.pad(t1_of(labels), ((14, 14), (14, 14), (0, 0)))
    x, y = np.meshgrid(*(np.arange(n) * 2.0 - n + 1 for n in head.shape[:2]), indexing="ij")
    scalp = ((x / 92) ** 2 + (y / 106) ** 2 < 1) & ((x / 86) ** 2 + (y / 100) ** 2 > 1)
    head[scalp] = 200
    head += np.random.default_rng(0).rayleigh(2, head.shape).astype(np.float32)
    style = load_style(save(tmp_path / "raw.nii.gz", head))
    assert style.skull
    assert not style.stripped
    assert any("shows a skull" in note.text and "brainspade[strip]" in note.text for note in style.notes)
    assert style.intensity_mean < 150


def test_a_crumb_of_brain_is_refused(tmp_path):
    crumb = np.zeros((60, 60, 20), np.float32)
    crumb[20:40, 20:40, 5:15] = np.random.default_rng(0).uniform(50, 100, (20, 20, 10))
    with pytest.raises(ScanError, match="no axial slice has 10% brain"):
        load_style(save(tmp_path / "crumb.nii.gz", crumb))


def test_a_long_volume_gives_evenly_spread_slices(tmp_path):
    spacing = (2.0, 2.0, 1.0)
    style = load_style(save(tmp_path / "t1.nii.gz", t1_of(tissue_phantom(spacing)), spacing))
    assert len(style.slices) == style_scan.MAX_STYLE_SLICES


def test_the_brightest_pixel_counts_in_slices_that_give_no_style_as_well(tmp_path):
    volume = t1_of(tissue_phantom())
    lowest = next(z for z in range(volume.shape[2]) if (volume[:, :, z] > 0.3 * volume.max()).any())
    x, y = np.argwhere(volume[:, :, lowest] > 0.3 * volume.max())[0]
    volume[x, y, lowest] = 1.5 * volume.max()
    style = load_style(save(tmp_path / "t1.nii.gz", volume))
    assert style.brightest > style.slices.max()
    assert style.brightest == pytest.approx((volume[x, y, lowest] - style.intensity_mean) / style.intensity_std)


def test_noise_and_blur_and_cuts_are_said_by_what_was_measured(tmp_path):
    spacing = (1.0, 1.0, 6.0)
    brain = t1_of(tissue_phantom(spacing))
    inside = brain > 0
    noise = np.where(inside, np.random.default_rng(0).uniform(20, 100, brain.shape), 0).astype(np.float32)
    blurred = np.where(inside, ndimage.gaussian_filter(brain, (6, 6, 0)) + 1, 0).astype(np.float32)
    halved = brain[brain.shape[0] // 2 :]
    for volume, words in ((noise, "looks like noise"), (blurred, "is blurred"), (halved, "cuts through")):
        style = load_style(save(tmp_path / "t1.nii.gz", volume, spacing))
        thick, said = style.notes
        assert thick.outside
        assert said.outside
        assert "thick slices (6.0 mm)" in thick.text
        assert words in said.text


def test_a_slab_and_a_tight_frame_are_no_cuts(tmp_path):
    brain = t1_of(tissue_phantom())
    where = np.argwhere(brain > 0)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    tight = brain[low[0] : high[0], low[1] : high[1], 20:50]
    assert load_style(save(tmp_path / "t1.nii.gz", tight, (2.0, 2.0, 2.0))).notes == ()


def test_neighbours_correlate_in_what_is_smooth_and_not_in_noise():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, *SLICE_SHAPE)).astype(np.float32)
    assert abs(neighbour_correlation(noise)) < 0.02
    assert neighbour_correlation(np.cumsum(noise, axis=1) / 20) > 0.4
    assert neighbour_correlation(np.full((1, *SLICE_SHAPE), BACKGROUND_VALUE, np.float32)) == 0
