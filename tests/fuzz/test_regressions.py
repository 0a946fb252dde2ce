"""Every defect that the attacks found, each by itself: all of these failed before they were mended."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from brainspade_cli.bundle_info import bundle_info
from brainspade_cli.errors import BrainspadeError, DatasetError, InputError, ScanError, SliceSetError, WeightsError
from brainspade_cli.files import sha256
from brainspade_cli.nnunet.check_case import inspect_case
from brainspade_cli.nnunet.dataset import list_cases, read_dataset, read_header
from brainspade_cli.nnunet.export import export
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.nnunet.provenance import read_manifest
from brainspade_cli.nnunet.tasks import load_task
from brainspade_cli.nnunet.transfer import label_values, relabel
from brainspade_cli.preparing.partial_volumes import channels_of
from brainspade_cli.preparing.scan import prepare_scan
from brainspade_cli.preparing.scan_table import find_scans
from brainspade_cli.preparing.volumes import Volume, read_maps, read_volume
from brainspade_cli.sampling.given_labels import GivenLabels, read_labels
from brainspade_cli.sampling.manifest import rows
from brainspade_cli.slices import open_slice_set
from brainspade_cli.styles.arguments import parse_styles
from brainspade_cli.styles.intensities import intensity_scale
from brainspade_cli.styles.scan import load_style
from brainspade_cli.training.batches import image_table, label_table_of_all
from brainspade_cli.weights import open_bundle
from tests.fuzz.mutations import bomb
from tests.nnunet.sets import TABLE, real_set, synthetic_set
from tests.phantoms import affine_of, save, t1_of, tissue_phantom
from tests.sampling.parts import ellipse_label, one_hot_maps, quiet, tiny_bundle

MM = (1.0, 1.0, 1.0)
DEEP = "[" * 100_000


def sentence(kind: type[BrainspadeError], run: Callable[[], object], *words: str) -> str:
    """The refusal of `run`: of that kind, in one line that ends with a full stop and holds `words`."""
    with pytest.raises(kind) as caught:
        run()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message
    return message


def peak(run: Callable[[], object]) -> int:
    """Bytes that Python and NumPy took at most while `run` was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(BrainspadeError):
            run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Scans


@pytest.mark.parametrize("extension", [-16, -1, 2**31 - 1])
def test_a_header_extension_that_lies_about_its_length_takes_no_memory(tmp_path: Path, extension: int) -> None:
    path = tmp_path / "flair.nii.gz"
    path.write_bytes(bomb((9, 9, 9), extension, offset=416, megabytes=300))
    tracemalloc.start()
    with pytest.raises(ScanError):
        read_volume(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_few_bytes_that_claim_a_gigabyte_take_none(tmp_path: Path) -> None:
    path = tmp_path / "flair.nii.gz"
    path.write_bytes(bomb((512, 512, 500), megabytes=0))
    assert peak(lambda: read_volume(path)) < 2**24
    sentence(ScanError, lambda: read_volume(path), "ends early", path.name)


@pytest.mark.parametrize("shape", [(32767,) * 7, (1000, 1000, 1000), (512, 512, 512, 1000)])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "pv.nii.gz"
    path.write_bytes(bomb(shape, megabytes=2000))
    assert peak(lambda: read_maps(path)) < 2**24
    sentence(ScanError, lambda: read_maps(path), "claims the size", path.name)


def test_voxels_that_start_beyond_all_headers_are_not_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "flair.nii.gz"
    path.write_bytes(bomb((9, 9, 9), offset=2e9, megabytes=3000))
    sentence(ScanError, lambda: read_volume(path), "byte 2000000000", path.name)


@pytest.mark.parametrize(
    ("diagonal", "origin"),
    [((1e-5, 1, 1), 0), ((49, 49, 49), 0), ((1, 1, 1), 1e20), ((1, 1, 1e-3), 0)],
    ids=["narrow", "metres", "far away", "thin"],
)
def test_placements_that_no_scan_has_are_refused(tmp_path: Path, diagonal: tuple[float, ...], origin: float) -> None:
    affine = np.diag([*diagonal, 1.0])
    affine[0, 3] = origin
    data = np.arange(40**3, dtype=np.int16).reshape(40, 40, 40)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "t1.nii.gz")
    sentence(ScanError, lambda: read_volume(tmp_path / "t1.nii.gz"), "claims", "t1.nii.gz")


def test_intensities_that_overflow_are_refused_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "flair.nii"
    nib.save(nib.Nifti1Image(np.arange(729, dtype=np.float32).reshape(9, 9, 9) * np.float32(1e35), np.eye(4)), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sentence(ScanError, lambda: read_volume(path), "check its scale", path.name)


def test_a_mask_is_no_style(tmp_path: Path) -> None:
    mask = save(tmp_path / "flair.nii.gz", (tissue_phantom((3.0, 3.0, 6.0)) > 0).astype(np.int16), (3.0, 3.0, 6.0))
    sentence(ScanError, lambda: load_style(mask), "one value all over the brain", mask.name)


@pytest.mark.parametrize("regions", [1, 40])
def test_a_label_map_is_no_style(tmp_path: Path, regions: int) -> None:
    """Also one of many regions: each tissue falls into cubes of five voxels."""
    tissues = tissue_phantom((3.0, 3.0, 6.0)).astype(np.int16)
    cubes = sum(weight * (axis // 5) for weight, axis in zip((1, 3, 7), np.indices(tissues.shape), strict=True))
    labels = np.where(tissues > 0, tissues + 4 * (cubes % regions), 0).astype(np.int16)
    path = save(tmp_path / "flair.nii.gz", labels, (3.0, 3.0, 6.0))
    sentence(ScanError, lambda: load_style(path), "as a label map has", path.name)


def test_a_scan_in_tiny_units_keeps_its_contrast(tmp_path: Path) -> None:
    t1 = t1_of(tissue_phantom((3.0, 3.0, 6.0)))
    plain = load_style(save(tmp_path / "a_T1w.nii", t1, (3.0, 3.0, 6.0)))
    tiny = load_style(save(tmp_path / "b_T1w.nii", t1 * np.float32(1e-9), (3.0, 3.0, 6.0)))
    assert np.abs(plain.slices - tiny.slices).max() < 0.01


@pytest.mark.parametrize("numbers", [(1e-320, 1e-321, 0.0), (1e308, 1e308, 0.0)])
def test_intensities_beyond_all_scales_are_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(InputError):
        intensity_scale(*numbers)


def test_a_glob_does_not_go_round_in_linked_folders(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).symlink_to(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "flair.nii.gz").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "flair.nii.gz").touch()
    for pattern in ("**/*.nii.gz", "**", "**/fl*ir**"):
        found = parse_styles([f"{tmp_path}/{pattern}"])
        assert [style.path for style in found] == [tmp_path / "deep" / "flair.nii.gz"]


def test_a_style_of_thousands_of_letters_is_refused() -> None:
    sentence(InputError, lambda: parse_styles(["x" * 5000]), "no style scan")


# Tables and folders of scans


def table(folder: Path, *rows: str, encoding: str = "utf-8") -> Path:
    path = folder / "scans.tsv"
    path.write_text("\n".join(rows) + "\n", encoding=encoding)
    return path


def test_a_row_with_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "subject\tt1", "sub-01\ta.nii", "sub-02\tb.nii\tc.nii")
    sentence(InputError, lambda: find_scans(path), "line 3", "more cells", path.name)


def test_a_cell_with_a_nul_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "subject\tt1", "sub-01\ta\0.nii")
    sentence(InputError, lambda: find_scans(path), path.name)


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    scans = find_scans(table(tmp_path, "subject\tt1", "sub-01\ta.nii", encoding="utf-8-sig"))
    assert [scan.subject for scan in scans] == ["sub-01"]


def test_a_column_given_twice_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "subject\tt1\tt1", "sub-01\ta.nii\tb.nii")
    sentence(InputError, lambda: find_scans(path), "more than one column", "t1")


def test_people_with_names_in_any_script_are_told_apart(tmp_path: Path) -> None:
    path = table(tmp_path, "subject\tt1", "\u5c71\u7530\ta.nii", "\u9234\u6728\ta.nii")
    names = {scan.name for scan in find_scans(path)}
    assert len(names) == 2


def test_a_subject_too_long_for_a_folder_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "subject\tt1", f"{'x' * 300}\ta.nii")
    sentence(InputError, lambda: find_scans(path), "too long", path.name)


def test_a_quote_that_never_ends_does_not_swallow_the_rest_of_a_table(tmp_path: Path) -> None:
    path = table(tmp_path, "subject\tt1", '"sub-01\ta.nii', "sub-02\tb.nii")
    sentence(InputError, lambda: find_scans(path), path.name)


@pytest.mark.parametrize("name", [DEEP, '{"Name": 5}', '{"Name": ""}', "[]"])
def test_a_damaged_dataset_description_is_passed_over(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "lab" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-01_T1w.nii.gz").touch()
    (tmp_path / "lab" / "dataset_description.json").write_text(name)
    assert [scan.dataset for scan in find_scans(tmp_path / "lab")] == ["lab"]


@pytest.mark.parametrize("record", ["{", "[]", DEEP, '{"fingerprint": 3}'])
def test_a_damaged_record_of_a_scan_is_written_anew(tmp_path: Path, record: str) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    scan = find_scans(table(tmp_path, "subject\tt1", "sub-01\ta.nii.gz"))[0]
    folder = tmp_path / "out" / "scans" / scan.name
    folder.mkdir(parents=True)
    (folder / "scan.json").write_text(record)
    assert prepare_scan(scan, tmp_path / "out", register=False, prior=None).status == "refused"


def test_a_pipe_or_a_device_among_the_scans_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").symlink_to("/dev/zero")
    for scan in find_scans(table(tmp_path, "subject\tt1", "a\ta.nii.gz", "b\tb.nii.gz")):
        outcome = prepare_scan(scan, tmp_path / "out", register=False, prior=None)
        assert outcome.status == "refused"
        assert "plain file" in outcome.message


def test_a_region_of_a_huge_number_takes_no_table_of_that_size() -> None:
    data = np.array([[[0, 41, 2, 2**31 - 1, -5]]], np.float32)
    tracemalloc.start()
    channels = channels_of(Volume(Path("seg.nii"), data, np.eye(4)), {2: 3, 41: 3})
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert channels.ravel().tolist() == [0, 3, 3, 0, 0]


# Labels to paint


def test_an_npz_is_believed_only_as_far_as_its_header_is_sane(tmp_path: Path) -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8, 100000, 100000), }" + b" " * 20 + b"\n"
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pv.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + bytes(100))
    assert peak(lambda: read_labels(path)) < 2**24
    sentence(InputError, lambda: read_labels(path), path.name)


def test_a_single_array_named_npz_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, one_hot_maps(ellipse_label()))
    sentence(InputError, lambda: read_labels(tmp_path / "a.npz"), "a.npz")


@pytest.mark.parametrize(("where", "value"), [(6, 1), (8, 97)], ids=["encrypted", "unknown method"])
def test_archives_that_cannot_be_unpacked_are_refused(tmp_path: Path, where: int, value: int) -> None:
    np.savez(tmp_path / "a.npz", one_hot_maps(ellipse_label()))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[where] = value
    content[content.rfind(b"PK\x01\x02") + where + 2] = value
    (tmp_path / "a.npz").write_bytes(content)
    sentence(InputError, lambda: read_labels(tmp_path / "a.npz"), "a.npz")


def test_a_wrong_datatype_of_a_label_is_refused(tmp_path: Path) -> None:
    raw = bytearray(gzip.decompress(save(tmp_path / "a.nii.gz", ellipse_label()[:, :, None], MM).read_bytes()))
    raw[70:72] = struct.pack("<h", -32768)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw))
    sentence(ScanError, lambda: GivenLabels(tmp_path, quiet()), "a.nii.gz")


def test_a_label_that_is_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    sentence(InputError, lambda: GivenLabels(tmp_path, quiet()), "a.npz")


# Slice sets


@pytest.fixture
def slices(tmp_path: Path, slice_folder: Path) -> Path:
    """A slice set of two people, of which a test may spoil one."""
    folder = tmp_path / "set"
    for name in ("sub-healthy0", "sub-tumour4"):
        shutil.copytree(slice_folder / "scans" / name, folder / "scans" / name)
    shutil.copy(slice_folder / "slice-set.json", folder)
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../../elsewhere"),
        ("lesion_load", 1),
        ("modalities", [[]]),
        ("modalities", ["../t1"]),
        ("positions", ["a"] * 6),
        ("positions", [float("nan")] * 6),
        ("positions", [1e9] * 6),
        ("tumour_pixels", [0] * 5),
        ("split", "all"),
        ("has_labels", "yes"),
        ("brain_pixels", [-1] * 6),
    ],
)
def test_a_record_edited_by_hand_is_refused_by_name(slices: Path, key: str, value: object) -> None:
    path = slices / "scans" / "sub-tumour4" / "scan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    sentence(SliceSetError, lambda: open_slice_set(slices), str(path), "delete it")


@pytest.mark.parametrize("text", [DEEP, "[]", "{", ""])
@pytest.mark.parametrize("name", ["slice-set.json", "scans/sub-tumour4/scan.json"])
def test_damaged_json_in_a_slice_set_is_named(slices: Path, name: str, text: str) -> None:
    (slices / name).write_text(text)
    sentence(SliceSetError, lambda: open_slice_set(slices), Path(name).name)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _archive(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, np.zeros(3))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [_empty, _archive, _pipe])
def test_arrays_that_are_none_are_refused(slices: Path, spoil: Callable[[Path], None]) -> None:
    spoil(slices / "scans" / "sub-tumour4" / "flair.npy")
    sentence(SliceSetError, lambda: image_table(open_slice_set(slices)), "flair.npy")


def test_nan_in_an_image_is_named_before_it_meets_a_network(slices: Path) -> None:
    import torch

    path = slices / "scans" / "sub-tumour4" / "flair.npy"
    images = np.load(path)
    images[2, 100, 100] = np.nan
    np.save(path, images)
    found = image_table(open_slice_set(slices))
    sentence(SliceSetError, lambda: found.read(torch.arange(len(found))), "sub-tumour4", "NaN")


def test_pv_maps_that_do_not_sum_to_one_are_named(slices: Path) -> None:
    import torch

    path = slices / "scans" / "sub-tumour4" / "labels.npy"
    labels = np.load(path)
    labels[2, :, 100, 100] = 255
    np.save(path, labels)
    found = label_table_of_all(open_slice_set(slices), 0.5)
    sentence(SliceSetError, lambda: found.maps(torch.arange(len(found))), "sub-tumour4", "sum to 1")


# Weights


@pytest.fixture(scope="module")
def good_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("good") / "bundle").folder


@pytest.fixture
def bundle(tmp_path: Path, good_bundle: Path) -> Path:
    return shutil.copytree(good_bundle, tmp_path / "bundle")


def change_config(bundle: Path, change: Callable[[dict], None]) -> None:
    content = json.loads((bundle / "config.json").read_text())
    change(content)
    (bundle / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bundle: Path, value: float) -> None:
    import safetensors.torch
    import torch

    path = bundle / "spade_generator.safetensors"
    tensors = safetensors.torch.load_file(path)
    key = sorted(tensors)[0]
    tensors[key] = torch.full_like(tensors[key], value)
    safetensors.torch.save_file(tensors, path)
    change_config(bundle, lambda content: content["sha256"].update({path.name: sha256(path)}))
    sentence(WeightsError, lambda: open_bundle(str(bundle)).network("spade_generator"), path.name, key)


@pytest.mark.parametrize(
    ("network", "key", "value"),
    [
        ("denoiser", "channels", [10**9, 10**9]),
        ("denoiser", "res_blocks", 10**6),
        ("generator", "widths", [8] * 5000),
        ("schedule", "steps", 10**12),
        ("autoencoder", "channels", []),
        ("style_encoder", "style_dim", -8),
    ],
)
def test_sizes_that_no_network_has_build_none(bundle: Path, network: str, key: str, value: object) -> None:
    change_config(bundle, lambda content: content["networks"][network].update({key: value}))
    sentence(WeightsError, lambda: open_bundle(str(bundle)), "config.json")


def test_a_network_larger_than_its_file_takes_no_memory(bundle: Path) -> None:
    def widen(content: dict) -> None:
        content["networks"]["denoiser"].update(channels=[4096, 4096], norm_groups=8)

    change_config(bundle, widen)
    opened = open_bundle(str(bundle))
    before = Path("/proc/self/statm").read_text().split()[1] if Path("/proc/self/statm").exists() else "0"
    sentence(WeightsError, lambda: opened.network("denoiser_healthy"), "denoiser_healthy")
    after = Path("/proc/self/statm").read_text().split()[1] if Path("/proc/self/statm").exists() else "0"
    assert int(after) - int(before) < 2**16  # pages, so 256 MiB


@pytest.mark.parametrize("file", ["config.json", "style_bank.safetensors"])
def test_a_bundle_with_a_pipe_holds_nothing_up(bundle: Path, file: str) -> None:
    _pipe(bundle / file)
    sentence(WeightsError, lambda: bundle_info(open_bundle(str(bundle))), file)


def test_a_bank_with_intensities_of_no_scan_is_refused(bundle: Path) -> None:
    change_config(bundle, lambda content: content["style_bank"]["t2"].update(intensity_std=1e-320, intensity_mean=0))
    sentence(WeightsError, lambda: open_bundle(str(bundle)), "style_bank.t2")


def test_weights_of_a_name_of_thousands_of_letters_are_refused() -> None:
    with pytest.raises(WeightsError):
        open_bundle("x" * 5000)


def test_a_config_nested_without_end_is_refused(bundle: Path) -> None:
    (bundle / "config.json").write_text(DEEP)
    sentence(WeightsError, lambda: open_bundle(str(bundle)), "config.json")


# Raw datasets


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_set(tmp_path_factory.mktemp("made") / "Dataset501_made")


def header(folder: Path, **changes: object) -> Path:
    content = {"channel_names": {"0": "t1"}, "labels": TABLE, "numTraining": 1, "file_ending": ".nii.gz"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(content | changes))
    return folder


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "x" * 300])
def test_cases_whose_names_name_no_file_are_refused(tmp_path: Path, made: Path, name: str) -> None:
    real = real_set(tmp_path / "real", cases=("sub-01",))
    images = {"images": ["imagesTr/sub-01_0000.nii.gz"], "label": "labelsTr/sub-01.nii.gz"}
    header(real, channel_names={"0": "flair"}, dataset={name: images})
    run = lambda: export([made], tmp_path / "out", 510, "x", real=real, reporter=quiet())  # noqa: E731
    sentence(DatasetError, run, "called")


def test_names_that_no_file_can_hold_are_refused_at_once(tmp_path: Path) -> None:
    folder = header(tmp_path / "real", channel_names={"0": "\ud800"})
    sentence(DatasetError, lambda: read_dataset(folder), "dataset.json")


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 50_000])
def test_json_nested_without_end_is_refused_everywhere(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    (tmp_path / "task.json").write_text(text)
    sentence(DatasetError, lambda: read_header(tmp_path), "dataset.json")
    sentence(DatasetError, lambda: load_task(str(tmp_path / "task.json")), "task.json")


def test_a_folder_that_links_to_itself_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    run = lambda: export([tmp_path / "loop"], tmp_path / "out", 510, "x", reporter=quiet())  # noqa: E731
    sentence(DatasetError, run, "loop")


def test_a_picture_that_links_to_itself_is_no_picture(tmp_path: Path, made: Path) -> None:
    real = real_set(tmp_path / "real", cases=("sub-01", "sub-02"), channels=("flair",))
    path = real / "imagesTr" / "sub-01_0000.nii.gz"
    path.unlink()
    path.symlink_to(path)
    sentence(DatasetError, lambda: read_dataset(real), "real")


def test_a_dataset_json_that_is_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dataset.json")
    sentence(DatasetError, lambda: read_header(tmp_path), "dataset.json")


def _colours() -> NDArray[np.void]:
    return np.zeros((24, 32, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize("values", [_colours(), np.ones((24, 32, 3), np.complex64)], ids=["colours", "complex"])
def test_labels_of_colours_or_complex_numbers_are_refused(tmp_path: Path, values: NDArray) -> None:
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(values, affine_of(values.shape, MM)), path)
    sentence(DatasetError, lambda: relabel(values, np.arange(256, dtype=np.uint8), path), path.name)
    sentence(DatasetError, lambda: label_values(path), path.name)


@pytest.mark.parametrize("dtype", [np.complex64, np.float32])
def test_a_check_says_what_is_wrong_with_odd_voxels(tmp_path: Path, dtype: type) -> None:
    folder = real_set(tmp_path / "real", cases=("sub-01",))
    data = np.full((24, 32, 3), np.nan, dtype)
    nib.save(nib.Nifti1Image(data, np.eye(4)), folder / "labelsTr" / "sub-01.nii.gz")
    found = read_header(folder)
    assert inspect_case(list_cases(found)[0], found).problems


def test_a_volume_that_is_a_bomb_is_refused_by_the_check(tmp_path: Path) -> None:
    folder = real_set(tmp_path / "real", cases=("sub-01",))
    (folder / "labelsTr" / "sub-01.nii.gz").write_bytes(bomb((1000, 1000, 1000), megabytes=2000))
    found = read_header(folder)
    tracemalloc.start()
    problems = inspect_case(list_cases(found)[0], found).problems
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    assert any("claims the size" in problem for problem in problems)


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"GIF89a" + bytes(30)])
def test_only_a_png_is_read_as_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    sentence(DatasetError, lambda: read_plane(path), "it is no PNG", path.name)


def test_a_picture_that_claims_millions_of_pixels_is_refused_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 13000, 13000) + bytes(20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sentence(DatasetError, lambda: read_plane(path), "13000 x 13000", path.name)


def test_a_slice_at_no_height_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[2, 3] = np.nan
    image = nib.Nifti1Image(np.zeros((5, 5, 1), np.uint8), np.eye(4))
    image.header["srow_z"] = affine[2]
    image.header["sform_code"] = 1
    raw = bytearray(nib.Nifti1Image(np.zeros((5, 5, 1), np.uint8), np.eye(4)).to_bytes())
    raw[312:328] = struct.pack("<4f", *affine[2])
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw))
    sentence(DatasetError, lambda: read_plane(tmp_path / "a.nii.gz"), "a.nii.gz")


# Messages


def test_names_out_of_files_cannot_break_a_message_or_steer_a_terminal() -> None:
    message = str(DatasetError("There is a label 'a\nb\x1b[2J\u2028c \u8111'."))
    assert message == "There is a label 'a\\nb\\x1b[2J\\u2028c \u8111'."


# Manifests


def test_lines_edited_by_hand_count_for_nothing(tmp_path: Path) -> None:
    from brainspade_cli.nnunet.raw import RawLayout

    good = {
        "case": "brainspade_0000001",
        "index": 1,
        "attempts": 1,
        "problems": [],
        "lesion": False,
        "styles": [{"channel": "t1", "name": "a", "sha256": "b", "slice": 0}],
    }
    bad = [
        {"case": "../../brainspade_0000001"},
        {"index": True},
        {"index": -1},
        {"problems": 3},
        {"attempts": "1"},
        {"styles": [5]},
        {"styles": [{"channel": "t1"}]},
    ]
    path = tmp_path / "brainspade" / "manifest.jsonl"
    path.parent.mkdir()
    lines = [json.dumps(good | change) for change in bad] + [DEEP, "x" * (2**20 + 5), json.dumps(good)]
    path.write_text("\n".join(lines) + "\n")
    assert list(rows(RawLayout(tmp_path, ".nii.gz"))) == [good]


def test_a_manifest_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "brainspade").mkdir()
    (tmp_path / "brainspade" / "manifest.jsonl").symlink_to("/dev/zero")
    sentence(DatasetError, lambda: read_manifest(tmp_path), "manifest.jsonl")


def test_a_line_separator_in_a_name_does_not_cut_a_line(tmp_path: Path) -> None:
    path = tmp_path / "brainspade" / "manifest.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"case": "a", "origin": "x\u2028y"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert set(read_manifest(tmp_path)) == {"a"}
