from __future__ import annotations

import contextlib
import gzip
import json
import os
import struct

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from brainspade_cli.errors import DatasetError
from brainspade_cli.geometry import GRID_ORIGIN, SLICE_SHAPE, grid_affine
from brainspade_cli.nnunet import planes, raw
from brainspade_cli.nnunet.planes import encode_plane, read_plane
from brainspade_cli.nnunet.raw import NIFTI, PNG, RawLayout, dataset_folder, dataset_number, plan_command, write_case
from tests.nnunet.sets import TABLE, phantom

ENDINGS = (NIFTI, PNG)


@pytest.fixture(params=ENDINGS)
def layout(request, tmp_path):
    layout = RawLayout(tmp_path / "Dataset501_brainspade", request.param)
    layout.create()
    return layout


@pytest.fixture
def written(tmp_path):
    """One case in both formats: its images, its label, and the layouts."""
    images, label = phantom(0, tumour=True, channels=2)
    layouts = [RawLayout(tmp_path / ending[1:], ending) for ending in ENDINGS]
    for layout in layouts:
        layout.create()
        write_case(layout, "case", images, label, z_mm=12.5)
    return images, label, *layouts


def test_nifti_is_one_millimetre_ras_at_its_height(written):
    images, label, layout, _ = written
    for path, values in ((layout.image_path("case", 1), images[1]), (layout.label_path("case"), label)):
        image = nib.load(path)
        assert image.shape == (*SLICE_SHAPE, 1)
        assert image.get_data_dtype() == values.dtype
        assert image.header.get_zooms() == (1, 1, 1)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.affine[:3, 3].tolist() == [*GRID_ORIGIN[:2], 12.5]
        assert np.array_equal(image.get_sform(), image.get_qform())
        assert np.array_equal(np.asarray(image.dataobj)[:, :, 0], values)


def test_image_and_label_have_one_header_but_for_the_number_type(written):
    _, _, layout, _ = written
    headers = [
        bytearray(gzip.decompress(path.read_bytes())[:348])
        for path in (layout.image_path("case", 0), layout.image_path("case", 1), layout.label_path("case"))
    ]
    for header in headers:
        assert struct.unpack_from("<ff", header, 112) == (1.0, 0.0)
        header[70:74] = b"    "
    assert headers[0] == headers[1] == headers[2]


def test_simpleitk_sees_label_over_the_same_anatomy(written):
    sitk = pytest.importorskip("SimpleITK")
    images, label, layout, _ = written
    image = sitk.ReadImage(str(layout.image_path("case", 0)))
    mask = sitk.ReadImage(str(layout.label_path("case")))
    for read, values in ((image, images[0]), (mask, label)):
        assert np.array_equal(sitk.GetArrayFromImage(read), values.T[None])
        assert read.GetSpacing() == (1, 1, 1)
        # SimpleITK counts millimetres towards left and back.
        x, y = 40, 200
        assert read.TransformIndexToPhysicalPoint((x, y, 0)) == (-(GRID_ORIGIN[0] + x), -(GRID_ORIGIN[1] + y), 12.5)


def test_nnunet_reads_the_same_arrays_from_nifti_and_png(written):
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    images, label, nifti, png = written
    for reader, layout in ((SimpleITKIO(), nifti), (NibabelIO(), nifti), (NaturalImage2DIO(), png)):
        *image_paths, label_path = map(str, layout.case_paths("case", 2))
        seen, geometry = reader.read_images(image_paths)
        mask, _ = reader.read_seg(label_path)
        assert np.array_equal(seen, images.transpose(0, 2, 1)[:, None])
        assert np.array_equal(mask, label.T[None, None])
        assert np.argmax(geometry["spacing"]) == 0


def test_png_is_grey_sixteen_and_eight_bit(written):
    images, label, _, layout = written
    with Image.open(layout.image_path("case", 1)) as picture:
        assert picture.mode == "I;16"
        assert np.array_equal(np.asarray(picture).T, images[1])
    with Image.open(layout.label_path("case")) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture).T, label)


def test_same_input_gives_same_bytes(layout):
    images, label = phantom(1)
    write_case(layout, "a", images, label, 3.0)
    write_case(layout, "b", images, label, 3.0)
    for first, second in zip(layout.case_paths("a", 1), layout.case_paths("b", 1), strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("killed_at", range(3))
def test_killed_write_leaves_whole_files_only_and_no_case(layout, monkeypatch, killed_at):
    images, label = phantom(2, channels=2)
    renamed = []

    def replace(source, target):
        if len(renamed) == killed_at:
            raise KeyboardInterrupt
        renamed.append(target)
        os.rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(planes.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            write_case(layout, "case", images, label)
    left = [path for folder in (layout.images, layout.labels) for path in folder.iterdir()]
    assert sorted(left) == [layout.image_path("case", channel) for channel in range(killed_at)]
    write_case(layout, "case", images, label)
    assert all(path.is_file() for path in layout.case_paths("case", 2))


def test_what_a_kill_leaves_is_no_image_to_nnunet(layout, monkeypatch):
    """A process killed outright cannot tidy up, and nnU-Net counts hidden files too."""
    images, label = phantom(2)
    monkeypatch.setattr(planes.os, "replace", lambda source, target: None)
    write_case(layout, "case", images, label)
    left = [path for folder in (layout.images, layout.labels) for path in folder.iterdir()]
    assert len(left) == 2
    assert not any(path.name.endswith(layout.file_ending) for path in left)
    layout.remove_temporaries()
    assert not any(path.exists() for path in left)


def test_contents_are_on_disk_before_names_are(layout, monkeypatch):
    """Else a power cut could leave a name with half of its file, that the next run takes for whole."""
    images, label = phantom(2, channels=2)
    done = []
    fsync, replace = os.fsync, os.replace

    def flushing(handle):
        done.append(("flush", os.fstat(handle).st_ino, os.fstat(handle).st_size))
        fsync(handle)

    def renaming(source, target):
        done.append(("name", os.stat(source).st_ino, os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(planes.os, "fsync", flushing)
    monkeypatch.setattr(planes.os, "replace", renaming)
    write_case(layout, "case", images, label)
    status = [path.stat() for path in layout.case_paths("case", 2)]
    assert done == [(step, file.st_ino, file.st_size) for file in status for step in ("flush", "name")]
    done.clear()
    raw.flush_names(layout)
    assert [inode for _, inode, _ in done] == [layout.images.stat().st_ino, layout.labels.stat().st_ino]


@given(
    plane=st.one_of(
        arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
        arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 32767)),
    ),
    height=st.floats(-500, 500),
)
def test_nifti_bytes_are_those_of_nibabel(plane, height):
    affine = grid_affine()
    affine[2, 3] = height
    image = nib.Nifti1Image(plane[:, :, None], affine)
    image.header.set_xyzt_units("mm")
    image.header.set_sform(affine, code="aligned")
    image.header.set_qform(affine, code="aligned")
    assert gzip.decompress(encode_plane(plane, height, NIFTI)) == image.to_bytes()


@pytest.mark.parametrize(
    ("case", "images", "label"),
    [
        ("../case", np.zeros((1, 4, 5), np.int16), np.zeros((4, 5), np.uint8)),
        ("", np.zeros((1, 4, 5), np.int16), np.zeros((4, 5), np.uint8)),
        ("case", np.zeros((1, 4, 5), np.float32), np.zeros((4, 5), np.uint8)),
        ("case", np.full((1, 4, 5), -1, np.int16), np.zeros((4, 5), np.uint8)),
        ("case", np.zeros((4, 5), np.int16), np.zeros((4, 5), np.uint8)),
        ("case", np.zeros((0, 4, 5), np.int16), np.zeros((4, 5), np.uint8)),
        ("case", np.zeros((1, 4, 5), np.int16), np.zeros((5, 4), np.uint8)),
        ("case", np.zeros((1, 4, 5), np.int16), np.zeros((4, 5), np.int64)),
    ],
)
def test_arrays_that_would_not_survive_are_refused(layout, case, images, label):
    with pytest.raises(ValueError, match=r"case|images|label"):
        write_case(layout, case, images, label)
    assert not any(layout.images.iterdir())


@given(
    plane=st.one_of(
        arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
        arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 32767)),
    ),
    height=st.floats(-500, 500, width=32),
    ending=st.sampled_from(ENDINGS),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plane_survives_either_format(tmp_path, plane, height, ending):
    path = tmp_path / f"plane{ending}"
    path.write_bytes(encode_plane(plane, height, ending))
    values, found = read_plane(path)
    assert np.array_equal(values, plane)
    assert found == height


@given(
    ending=st.sampled_from(ENDINGS),
    place=st.floats(0, 1),
    noise=st.binary(min_size=1, max_size=6),
    cut=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_file_is_a_dataset_error_or_read(tmp_path, ending, place, noise, cut):
    data = encode_plane(phantom(3)[1][::4, ::4].copy(), 0.0, ending)
    start = int(place * len(data))
    path = tmp_path / f"plane{ending}"
    path.write_bytes(data[:start] if cut else data[:start] + noise + data[start + len(noise) :])
    values = None
    # Anything else that the readers raise would end a run with a traceback.
    with contextlib.suppress(DatasetError):
        values, _ = read_plane(path)
    assert values is None or values.ndim == 2


@pytest.mark.parametrize("name", ["CT", "nonorm", "noNorm", "zscore", "Rescale_to_0_1", "rgb_to_0_1", ""])
def test_channel_names_that_change_normalisation_are_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="normalisation"):
        raw.write_dataset_json(tmp_path, TABLE, ("t1", name), 1, NIFTI)
    assert not list(tmp_path.iterdir())


def test_reserved_channel_names_are_nnunets():
    mapping = pytest.importorskip("nnunetv2.preprocessing.normalization.map_channel_name_to_normalization")
    assert set(mapping.channel_name_to_normalization_mapping) == raw.RESERVED_CHANNELS


@pytest.mark.parametrize("labels", [{"gm": 1}, {"background": 0, "gm": 2}, {"background": 1, "gm": 0}])
def test_labels_with_gaps_are_refused(tmp_path, labels):
    with pytest.raises(DatasetError, match="0, 1, 2"):
        raw.write_dataset_json(tmp_path, labels, ("t1",), 1, NIFTI)


@pytest.mark.parametrize(("ending", "reader"), [(NIFTI, "SimpleITKIO"), (PNG, "NaturalImage2DIO")])
def test_dataset_json_names_the_reader_and_keeps_provenance(tmp_path, ending, reader):
    raw.write_dataset_json(tmp_path, TABLE, ("t1", "flair"), 7, ending, brainspade={"seed": 3})
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert content == {
        "channel_names": {"0": "t1", "1": "flair"},
        "labels": TABLE,
        "numTraining": 7,
        "file_ending": ending,
        "overwrite_image_reader_writer": reader,
        "brainspade": {"seed": 3},
    }


@given(number=st.integers(1, 999), name=st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True))
def test_folder_name_tells_the_id(number, name):
    assert dataset_number(dataset_folder(number, name)) == number


@pytest.mark.parametrize(("number", "name"), [(0, "a"), (1000, "a"), (5, ""), (5, "a b"), (5, "a/b"), (5, "é")])
def test_folder_names_that_nnunet_would_not_take_are_refused(number, name):
    with pytest.raises(DatasetError):
        dataset_folder(number, name)


@pytest.mark.parametrize("name", ["brain", "Dataset5_a", "Dataset000_a", "Dataset501_", "xDataset501_a"])
def test_foreign_folder_has_no_number(tmp_path, name):
    assert dataset_number(tmp_path / name) is None


def test_folder_lies_in_nnunets_raw_folder_or_here(monkeypatch, tmp_path):
    assert dataset_folder(7, "x").as_posix() == "nnUNet_raw/Dataset007_x"
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert dataset_folder(7, "x") == tmp_path / "Dataset007_x"
    assert dataset_folder(7, "x", tmp_path / "own") == tmp_path / "own" / "Dataset007_x"


def test_second_dataset_of_one_id_is_refused(tmp_path):
    (tmp_path / "Dataset007_old").mkdir()
    (tmp_path / "Dataset008_old.zip").touch()
    (tmp_path / "Dataset501_old").mkdir()
    raw.refuse_shared_id(tmp_path / "Dataset007_old", str)
    raw.refuse_shared_id(tmp_path / "Dataset008_new", str)
    raw.refuse_shared_id(tmp_path / "brains", str)
    with pytest.raises(DatasetError, match=r"Dataset007_old.* as in 502\."):
        raw.refuse_shared_id(tmp_path / "Dataset007_new", str)


@pytest.mark.parametrize(("variable", "place"), [(None, "nnUNet_preprocessed"), ("elsewhere", "elsewhere")])
def test_planning_goes_where_nnunets_variable_says(monkeypatch, tmp_path, variable, place):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    if variable:
        monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / variable))
    command = plan_command(tmp_path / "nnUNet_raw" / "Dataset501_brainspade", 501)
    assert f"nnUNet_preprocessed={tmp_path / place} " in command
