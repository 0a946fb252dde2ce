import contextlib
import gzip
import sys
from itertools import permutations, product
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainspade_cli import nifti
from brainspade_cli.errors import ScanError
from brainspade_cli.preparing import volumes
from brainspade_cli.preparing.volumes import find_foreground, normalise, read_volume, sample_onto, strip_skull
from tests.phantoms import save, t1_of, tissue_phantom

AXES = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for flips in product((0, 1), repeat=3)
]


@pytest.mark.parametrize("axes", AXES)
def test_every_orientation_reads_as_the_same_ras_volume(tmp_path, axes):
    data = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    volume = read_volume(save(tmp_path / "scan.nii.gz", data, (1.0, 2.0, 3.0), axes))
    assert np.array_equal(volume.data, data)
    assert volume.spacing == pytest.approx((1.0, 2.0, 3.0))
    assert np.allclose(volume.affine[:3, :3], np.diag([1.0, 2.0, 3.0]))


def test_a_trailing_axis_of_one_is_dropped_and_a_series_is_refused(tmp_path):
    one = tmp_path / "one.nii"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((4, 5, 6, 1)), np.eye(4)), one)
    assert read_volume(one).data.shape == (4, 5, 6)
    series = tmp_path / "bold.nii"
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6, 3)), np.eye(4)), series)
    with pytest.raises(ScanError, match=r"bold\.nii has 4 dimensions"):
        read_volume(series)


def _bad_files(folder):
    good = save(folder / "good.nii.gz", np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype(np.int16))
    text = folder / "text.nii.gz"
    text.write_bytes(b"this is no scan")
    short = folder / "short.nii.gz"
    short.write_bytes(good.read_bytes()[:-4000])
    zero = folder / "zero.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5), np.int16), np.eye(4)), zero)
    holes = np.ones((5, 5, 5), np.float32)
    holes[2, 2, 2] = np.nan
    nan = folder / "nan.nii.gz"
    nib.save(nib.Nifti1Image(holes, np.eye(4)), nan)
    complex_ = folder / "complex.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.complex64), np.eye(4)), complex_)
    huge = folder / "huge.nii"
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 3000))
    header.set_data_dtype(np.int16)
    huge.write_bytes(header.binaryblock + b"\0" * 4)
    return {
        folder / "absent.nii.gz": "does not exist",
        text: "not a NIfTI",
        short: "ends early or is damaged",
        zero: "all zero",
        nan: "NaN",
        complex_: "one number a voxel",
        huge: "claims the size",
    }


def test_unusable_files_are_named_with_the_reason(tmp_path):
    for path, reason in _bad_files(tmp_path).items():
        with pytest.raises(ScanError, match=reason) as caught:
            read_volume(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


@settings(max_examples=150)
@given(offset=st.integers(0, 347), value=st.integers(0, 255), cut=st.integers(0, 2000))
def test_a_mutated_file_never_gives_anything_but_a_volume_or_a_scan_error(tmp_path_factory, offset, value, cut):
    folder = tmp_path_factory.mktemp("mutated")
    data = np.random.default_rng(0).integers(0, 99, (8, 9, 10)).astype(np.int16)
    raw = bytearray(gzip.decompress(save(folder / "good.nii.gz", data).read_bytes()))
    raw[offset] = value
    path = folder / "mutated.nii.gz"
    path.write_bytes(gzip.compress(bytes(raw), 1)[: None if cut > 1500 else -cut or None])
    with contextlib.suppress(ScanError):
        volume = read_volume(path)
        assert np.isfinite(volume.data).all()
        assert volume.data.ndim == 3


def test_sampling_puts_a_voxel_where_its_affine_says(tmp_path):
    data = np.zeros((9, 9, 9), np.float32)
    data[2, 3, 4] = 1.0
    volume = read_volume(save(tmp_path / "dot.nii.gz", data, (1.0, 1.0, 1.0), "LPI"))
    centre = volume.affine @ [2, 3, 4, 1]
    grid = np.eye(4)
    grid[:3, 3] = centre[:3] - [5, 5, 5]
    sampled = sample_onto(volume.data, volume.affine, (11, 11, 11), grid)
    assert np.unravel_index(sampled.argmax(), sampled.shape) == (5, 5, 5)


def test_a_stripped_brain_and_a_head_are_told_apart(tmp_path):
    labels = tissue_phantom()
    brain = t1_of(labels)
    assert not find_foreground(read_volume(save(tmp_path / "brain.nii.gz", brain))).skull
    noise = np.random.default_rng(1).rayleigh(3, (110, 130, 70)).astype(np.float32)
    x, y = np.meshgrid(np.linspace(-110, 110, 110), np.linspace(-130, 130, 130), indexing="ij")
    head = noise + np.where(((x / 88) ** 2 + (y / 105) ** 2 < 1), 80.0, 0.0)[..., None].astype(np.float32)
    assert find_foreground(read_volume(save(tmp_path / "head.nii.gz", head))).skull


def test_a_stripper_that_fails_is_told_with_the_scan(tmp_path, monkeypatch):
    class BrainExtraction:
        def __init__(self, **_):
            pass

        def run(self, _):
            raise ValueError("not enough voxels")

    monkeypatch.setitem(sys.modules, "deepbet.bet", SimpleNamespace(BrainExtraction=BrainExtraction))
    volume = read_volume(save(tmp_path / "head.nii.gz", t1_of(tissue_phantom())))
    with pytest.raises(ScanError, match=r"head\.nii\.gz could not be stripped of its skull \(not enough voxels\)"):
        strip_skull(volume, find_foreground(volume))


def test_a_scan_without_a_brain_is_refused(tmp_path):
    data = np.zeros((60, 60, 20), np.float32)
    data[30, 30, 10] = 5
    with pytest.raises(ScanError, match="no brain"):
        find_foreground(read_volume(save(tmp_path / "dot.nii.gz", data)))


def test_normalising_z_scores_the_brain_and_nothing_else():
    rng = np.random.default_rng(0)
    data = rng.normal(300, 50, (30, 30, 30)).astype(np.float32)
    brain = np.zeros(data.shape, bool)
    brain[5:25, 5:25, 5:25] = True
    scored, mean, deviation = normalise(data, brain, -4.0)
    assert scored[brain].mean() == pytest.approx(0, abs=0.01)
    assert scored[brain].std() == pytest.approx(1, abs=0.02)
    assert (scored[~brain] == -4.0).all()
    assert (scored[brain] > -4.0).all()
    assert mean == pytest.approx(300, abs=2)
    assert deviation == pytest.approx(50, abs=2)


def test_eight_maps_on_a_fine_grid_are_not_too_much(tmp_path, monkeypatch):
    """Maps share a bound of their own: eight of 260 x 311 x 260 are more than any one scan may hold."""
    monkeypatch.setattr(nifti, "MAX_VOXELS", 20 * 20 * 20)
    monkeypatch.setattr(nifti, "MAX_VALUES", 10 * 20 * 20 * 20)
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 20, 8), np.uint8), np.eye(4)), tmp_path / "maps.nii.gz")
    maps, _ = volumes.read_maps(tmp_path / "maps.nii.gz")
    assert maps.shape == (20, 20, 20, 8)
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 20, 12), np.uint8), np.eye(4)), tmp_path / "many.nii.gz")
    with pytest.raises(ScanError, match="more than is read here"):
        volumes.read_maps(tmp_path / "many.nii.gz")
