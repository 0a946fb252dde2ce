"""What opening a NIfTI allows, what reading one takes, and what is told apart from a damaged file."""

from __future__ import annotations

import errno
import gzip
import io
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainspade_cli import nifti
from brainspade_cli.errors import DatasetError, InputError, SliceSetError
from brainspade_cli.nifti import NiftiError, open_nifti, read_values
from brainspade_cli.nnunet.check_case import inspect_case
from brainspade_cli.nnunet.dataset import RawCase, list_cases, read_header
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.nnunet.transfer import label_values, transfer_image, transfer_label
from brainspade_cli.sampling import given_labels
from brainspade_cli.sampling.given_labels import read_labels
from brainspade_cli.slices import SliceSet, open_slice_set
from tests.fuzz.mutations import bomb
from tests.nnunet.sets import real_set
from tests.sampling.parts import ellipse_label, one_hot_maps

MEBIBYTE = 2**20
SIDE = 224
VOXELS = SIDE**3
SCALED = {"dtype": np.uint8, "slope": 2.0}


def peak(run: Callable[[], Any]) -> float:
    """Bytes for each voxel of a `scaled` file that Python and NumPy took at most while `run` ran."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / VOXELS
    finally:
        tracemalloc.stop()


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    """A file of bytes with a slope, which nibabel makes doubles of."""
    path = tmp_path / "scaled.nii.gz"
    path.write_bytes(bomb((SIDE, SIDE, SIDE), megabytes=12, **SCALED))
    return path


@pytest.fixture
def bomb_case(tmp_path: Path, scaled: Path) -> tuple[Path, RawCase]:
    """A raw dataset of one case, its image and its label bytes with a slope."""
    folder = real_set(tmp_path / "real", cases=("sub-01",))
    case = list_cases(read_header(folder))[0]
    for path in (*case.images, case.label):
        path.write_bytes(scaled.read_bytes())
    return folder, case


def test_bytes_with_a_slope_become_no_doubles(scaled: Path) -> None:
    values = read_values(open_nifti(scaled))
    assert values.dtype == np.float32
    assert peak(lambda: read_values(open_nifti(scaled))) < 6


@pytest.mark.parametrize("dtype", [None, np.float32])
@pytest.mark.parametrize(("stored", "slope", "inter"), [("i2", 0.37, -3.0), ("f8", 1.0, 0.0), (">u1", 1e-3, 7.5)])
def test_reading_in_blocks_gives_what_nibabel_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, stored: str, slope: float, inter: float
) -> None:
    monkeypatch.setattr(nifti, "BLOCK", 17)
    data = np.random.default_rng(0).integers(0, 120, (5, 6, 7)).astype(stored)
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_data_dtype(data.dtype)
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw))
    wanted = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj, dtype=dtype)
    found = read_values(open_nifti(tmp_path / "a.nii.gz"), dtype)
    assert found.shape == (5, 6, 7)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    if dtype:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", [(1024, 1024, 1024), (513, 512, 512), (64, 64, 64, 1025)])
def test_more_voxels_than_are_read_are_refused_whatever_they_weigh(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "many.nii.gz"
    path.write_bytes(bomb(shape, megabytes=1100, **SCALED))
    with pytest.raises(NiftiError, match="claims the size"):
        open_nifti(path)


def test_a_check_takes_no_memory_with_the_size_of_its_volumes(bomb_case: tuple[Path, RawCase]) -> None:
    folder, case = bomb_case
    header = read_header(folder)
    assert peak(lambda: inspect_case(case, header)) < 4
    assert any("same value in every pixel" in problem for problem in inspect_case(case, header).problems)


def test_a_label_of_noise_takes_no_more_than_one_of_labels(tmp_path: Path) -> None:
    folder = real_set(tmp_path / "real", cases=("sub-01",))
    header = read_header(folder)
    case = list_cases(header)[0]
    noise = np.arange(128 * 128 * 80, dtype=np.int32).reshape(128, 128, 80)
    case.label.write_bytes(gzip.compress(nib.Nifti1Image(noise, np.eye(4)).to_bytes(), 1))
    problems: list[str] = []
    assert peak(lambda: problems.extend(inspect_case(case, header).problems)) * VOXELS < 64 * MEBIBYTE
    assert any("which dataset.json does not declare" in problem for problem in problems)


def test_label_values_take_no_memory_with_the_size_of_the_label(scaled: Path) -> None:
    assert peak(lambda: label_values(scaled)) < 4
    assert label_values(scaled) == {0}


def test_a_volume_is_relabelled_within_its_own_size(tmp_path: Path, scaled: Path) -> None:
    lookup = np.arange(256, dtype=np.uint8)
    lookup[0] = 3
    target = tmp_path / "out.nii.gz"
    assert peak(lambda: transfer_label(scaled, target, ".nii.gz", ".nii.gz", lookup)) < 4
    assert label_values(target) == {3}
    np.testing.assert_array_equal(nib.load(target).affine, np.eye(4))


def test_a_file_that_stays_as_it_is_is_copied_piece_by_piece(tmp_path: Path) -> None:
    source = tmp_path / "a.nii.gz"
    source.write_bytes(bytes(VOXELS))
    assert peak(lambda: transfer_image(source, tmp_path / "b.nii.gz", ".nii.gz", ".nii.gz")) < 0.5
    assert (tmp_path / "b.nii.gz").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("shape", [(SIDE, SIDE, SIDE), (16384, 8192, 1), (SIDE,)])
def test_a_volume_is_no_slice_by_its_header(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(bomb(shape, megabytes=140, **SCALED))

    def refused() -> None:
        with pytest.raises(DatasetError, match=r"a\.nii\.gz is no (single grey )?slice"):
            read_plane(path)

    assert peak(refused) < 0.1


def exhausted(error: Exception, *_arguments: object, **_options: object) -> None:
    raise error


def test_memory_that_runs_out_is_not_the_slice_sets_fault(slice_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = open_slice_set(slice_folder)
    for error in (MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")):
        monkeypatch.setattr(np.lib.format, "open_memmap", partial(exhausted, error))
        with pytest.raises(type(error)):
            found.labels(found.scans[0])


def test_memory_that_runs_out_is_not_the_files_fault(
    tmp_path: Path, scaled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", one_hot_maps(ellipse_label()))
    with monkeypatch.context() as patched:
        patched.setattr(given_labels.np.lib.format, "read_array", partial(exhausted, MemoryError()))
        with pytest.raises(MemoryError):
            read_labels(tmp_path / "a.npz")
    image = open_nifti(scaled)
    monkeypatch.setattr(nib.arrayproxy, "array_from_file", partial(exhausted, MemoryError()))
    with pytest.raises(MemoryError, match=r"scaled\.nii\.gz"):
        read_values(image)
    monkeypatch.setattr(nifti.gzip, "open", partial(exhausted, MemoryError()))
    with pytest.raises(MemoryError):
        open_nifti(scaled)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_real_want_of_memory_is_told_apart_from_damage(scaled: Path) -> None:
    """In a process of its own: one that has run other tests may free more than the limit leaves."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from brainspade_cli.nifti import open_nifti, read_values\n"
        "image = open_nifti(Path(sys.argv[1]))\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (used + {8 * MEBIBYTE}, resource.RLIM_INFINITY))\n"
        "try: read_values(image)\n"
        "except MemoryError: print('told')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(scaled)], capture_output=True, text=True, check=False)
    assert done.stdout == "told\n", done.stderr


def test_a_header_that_overflows_pythons_parser_is_a_damaged_file(tmp_path: Path, slice_folder: Path) -> None:
    """Python's parser raises MemoryError for it, with gigabytes to spare."""
    text = b"-" * 9000 + b"1" + b"\n"
    member = b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("pv.npy", member)
    (tmp_path / "a.npz").write_bytes(stream.getvalue())
    with pytest.raises(InputError, match=r"a\.npz"):
        read_labels(tmp_path / "a.npz")
    found = open_slice_set(slice_folder)
    folder = tmp_path / "scans" / found.scans[0].name
    folder.mkdir(parents=True)
    (folder / "labels.npy").write_bytes(member)
    with pytest.raises(SliceSetError, match=r"labels\.npy"):
        SliceSet(tmp_path, found.scans).labels(found.scans[0])


@pytest.mark.parametrize(
    ("name", "packed", "said"),
    [
        ("scan.nii.gz", False, "is not compressed, though its name ends in .gz; name it .nii"),
        ("scan.nii", True, "is compressed, though its name does not end in .gz; name it .nii.gz"),
        ("text.nii.gz", None, "is not a NIfTI file that can be read; give a .nii or .nii.gz file"),
        ("text.nii", None, "is not a NIfTI file; give a .nii or .nii.gz file"),
    ],
)
def test_a_name_that_has_the_compression_wrong_is_told_from_what_is_no_nifti(
    tmp_path: Path, name: str, packed: bool | None, said: str
) -> None:
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)).to_bytes()
    content = b"no scan at all" * 100 if packed is None else gzip.compress(image) if packed else image
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NiftiError, match=f"^{said}$"):
        open_nifti(tmp_path / name)
