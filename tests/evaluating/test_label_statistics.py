"""Statistics of labels: what a person would count by hand."""

import numpy as np
import pytest

from brainspade_cli.anatomy import CHANNELS, CSF, GM, OEDEMA, TUMOUR, WM
from brainspade_cli.evaluating.label_statistics import describe_labels
from tests.sampling.parts import ellipse_label, one_hot_maps


@pytest.fixture
def label():
    """A block of white matter, two pieces of grey and one of fluid that touches itself by a corner."""
    label = np.zeros((192, 256), np.uint8)
    label[50:70, 100:140] = WM
    label[80:90, 100:110] = GM
    label[100:110, 100:110] = GM
    label[120:125, 100:105] = CSF
    label[125:130, 105:110] = CSF
    return label


def test_areas_and_pieces_are_counted(label):
    table = describe_labels([label])
    counted = {name: table.column(name)[0] for name in table.columns}
    assert (counted["area/wm"], counted["area/gm"], counted["area/csf"], counted["area/tumour"]) == (800, 200, 50, 0)
    assert counted["area/brain"] == 1050
    pieces = [counted[f"components/{name}"] for name in ("wm", "gm", "csf", "tumour")]
    assert pieces == [1, 2, 1, 0]


def test_a_moved_brain_has_moved(label):
    table = describe_labels([label, np.roll(label, (8, -3), axis=(0, 1))])
    assert np.diff(table.column("place/x")) == pytest.approx(8)
    assert np.diff(table.column("place/y")) == pytest.approx(-3)
    assert np.diff(table.column("area/brain")) == 0


def test_a_lesion_has_load_core_and_place():
    brain = np.full((192, 256), WM, np.uint8)
    brain[100:110, 100:120] = OEDEMA
    brain[100:110, 100:105] = TUMOUR
    table = describe_labels([brain])
    assert table.column("lesion/load")[0] == pytest.approx(200 / brain.size)
    assert table.column("lesion/core")[0] == pytest.approx(0.25)
    assert table.column("lesion/x")[0] == pytest.approx(104.5 - 95.5)
    assert table.column("lesion/y")[0] == pytest.approx(109.5 - 127.5)


def test_a_few_stray_pixels_are_no_lesion(label):
    label[52, 100:119] = TUMOUR
    assert np.isnan(describe_labels([label]).column("lesion/load")).all()


def test_soft_borders_have_entropy_and_hard_ones_none(label):
    soft = np.zeros((CHANNELS, 192, 256), np.uint8)
    soft[0] = 255
    soft[0, 50:100, 50:100] = 0
    soft[GM, 50:100, 50:100] = 128
    soft[WM, 50:100, 50:100] = 127
    table = describe_labels([soft, one_hot_maps(label), soft / np.float32(255)])
    assert table.column("entropy/brain") == pytest.approx([np.log(2), 0, np.log(2)], abs=1e-4)
    assert np.isnan(describe_labels([label]).column("entropy/brain")).all()


def test_arrays_memory_maps_and_generators_are_alike(tmp_path):
    labels = np.stack([ellipse_label(tumour, shift) for tumour, shift in ((False, 0), (True, 3), (True, 5))])
    np.save(tmp_path / "labels.npy", labels)
    tables = [
        describe_labels(source)
        for source in (
            labels,
            np.load(tmp_path / "labels.npy", mmap_mode="r"),
            (label for label in labels),
        )
    ]
    for table in tables[1:]:
        np.testing.assert_array_equal(table.values, tables[0].values)


def test_an_empty_label_says_that_nothing_is_known():
    table = describe_labels([np.zeros((192, 256), np.uint8)])
    assert table.column("area/brain")[0] == 0
    assert np.isnan(table.column("place/x")).all()


def test_people_and_heights_go_with_their_slices(label):
    table = describe_labels([label] * 3, positions=[1.0, None, 3.0], people=["b", "a", "b"])
    np.testing.assert_array_equal(table.column("position/height"), [1, np.nan, 3])
    assert table.people[0] == table.people[2] != table.people[1]
    assert table.people_known
    assert not describe_labels([label] * 3).people_known


@pytest.mark.parametrize("given", [{"positions": [1.0]}, {"people": ["a", "b", "c"]}])
def test_lists_of_another_length_are_refused(label, given):
    with pytest.raises(ValueError, match="for 2 labels"):
        describe_labels([label, label], **given)


def test_no_labels_are_refused():
    with pytest.raises(ValueError, match="no labels"):
        describe_labels([])
