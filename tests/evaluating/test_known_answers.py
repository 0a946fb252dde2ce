"""Sets that must rank as they do: real people, a few slices repeated, shifted labels, a wrong contrast, noise."""

import numpy as np
import pytest
from known_sets import SETS, answers, gather
from scipy import ndimage

from brainspade_cli.anatomy import NAMES
from brainspade_cli.evaluating.slice_source import Slice
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.preparing.volumes import read_volume
from brainspade_cli.slices import BACKGROUND_VALUE
from tests.real_data import scan


@pytest.fixture(scope="module")
def found(made_people, real_people):
    return {name: answers(gather(change(made_people), "t1"), real_people, "t1") for name, change in SETS.items()}


def test_real_people_rank_first(found):
    for name, other in found.items():
        if name != "real":
            assert all(found["real"].figures[key] <= other.figures[key] for key in ("labels", "frechet")), name
    for figure in ("labels", "frechet", "kernel", "contrast", "agreement"):
        assert found["real"].verdicts[figure], figure


def test_noise_is_far_in_labels_and_images(found):
    for figure in ("labels", "frechet", "kernel", "contrast"):
        assert found["noise"].verdicts[figure] is False, figure
    assert found["noise"].figures["frechet"] == max(item.figures["frechet"] for item in found.values())
    assert found["noise"].figures["labels"] > 20 * found["real"].figures["labels"]
    assert found["noise"].figures["coverage"] == 0


def test_a_collapsed_set_lacks_diversity(found):
    assert found["collapsed"].figures["distinct"] < 0.3 < found["real"].figures["distinct"]
    assert found["collapsed"].figures["labels"] > found["real"].figures["labels"]
    assert found["collapsed"].figures["recall"] < found["real"].figures["recall"]
    assert found["collapsed"].figures["coverage"] < found["real"].figures["coverage"]


def test_shifted_labels_are_out_of_place_and_off_their_images(found):
    shifted, real = found["half shifted"], found["real"]
    assert shifted.verdicts["labels/place"] is False
    assert shifted.verdicts["agreement"] is False
    assert shifted.figures["labels"] > real.figures["labels"]
    assert shifted.figures["labels/area"] == pytest.approx(real.figures["labels/area"])
    assert shifted.figures["contrast"] > real.figures["contrast"]
    # The images are as they were.
    assert shifted.figures["frechet"] == real.figures["frechet"]


def test_a_wrong_contrast_is_seen_in_the_images_alone(found):
    assert found["inverted"].verdicts["contrast"] is False
    assert found["inverted"].verdicts["frechet"] is False
    assert found["inverted"].figures["labels"] == found["real"].figures["labels"]


@pytest.fixture(scope="module")
def oasis():
    """Every eighth slice of twelve people of OASIS, cut to the frame as they are."""
    people = ["1000", "1001", "1002", "1003", "1004", "1006", "1007", "1008", "1009", "1010", "1012", "1013"]
    return [_slices(person) for person in people]


def _slices(person):
    labels, image = (read_volume(scan(f"oasis/sub-{person}/{name}.nii.gz")).data for name in ("tissues", "t1"))
    brain = labels > 0
    image = np.where(brain, (image - image[brain].mean()) / image[brain].std(), BACKGROUND_VALUE)
    centre = np.array(ndimage.center_of_mass(brain))
    found = []
    for k in range(round(centre[2]) - 40, round(centre[2]) + 40, 8):
        label = _frame(labels[:, :, k].astype(np.uint8), centre, 0)
        picture = _frame(image[:, :, k], centre, BACKGROUND_VALUE).astype(np.float32)
        found.append(Slice(label, None, {"t1": picture}, k - float(centre[2]), person))
    return found


def _frame(plane, centre, outside):
    """The plane in the frame of slices, the brain's middle in the frame's."""
    padded = np.pad(plane, 256, constant_values=outside)
    x, y = (round(place) + 256 - side // 2 for place, side in zip(centre, SLICE_SHAPE, strict=False))
    return padded[x : x + SLICE_SHAPE[0], y : y + SLICE_SHAPE[1]]


@pytest.mark.slow
@pytest.mark.real_data
def test_sets_of_real_scans_rank_as_they_should(oasis):
    made, others = ([item for person in oasis[start::2] for item in person] for start in (0, 1))
    real = gather(others, "t1")
    assert set(np.unique([item.label.max() for item in made])) <= set(range(len(NAMES)))
    found = {name: answers(gather(change(made), "t1"), real, "t1") for name, change in SETS.items()}
    for figure in ("labels", "frechet", "kernel", "contrast", "agreement"):
        assert found["real"].verdicts[figure], figure
    off = {
        "collapsed": ("labels", "frechet", "recall", "coverage"),
        "half shifted": ("labels/place", "agreement"),
        "inverted": ("frechet", "kernel", "contrast", "coverage"),
        "noise": ("labels", "frechet", "kernel", "precision", "coverage", "contrast"),
    }
    for name, figures in off.items():
        for figure in figures:
            assert found[name].verdicts[figure] is False, (name, figure)
