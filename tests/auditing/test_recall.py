"""The goal of the audit on real scans: planted copies are found under every disguise, new people are let be."""

import json

import numpy as np
import pytest
from scipy import ndimage

from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.preparing.volumes import read_volume
from brainspade_cli.slices import create_slice_set
from tests.auditing.folded import write_person
from tests.real_data import scan

TRAIN = ("1000", "1001", "1002", "1004", "1006", "1008", "1009", "1010")
HELD_OUT = ("1003", "1007", "1101", "1119")
EXTREME = ("bent by 2 px", "bent by 4 px")


@pytest.fixture(scope="module")
def oasis(tmp_path_factory):
    """Every second slice of twelve people of OASIS, cut to the frame as they are, four people held out."""
    folder = tmp_path_factory.mktemp("oasis") / "slices"
    create_slice_set(folder)
    for person in (*TRAIN, *HELD_OUT):
        tissues, t1 = (read_volume(scan(f"oasis/sub-{person}/{name}.nii.gz")).data for name in ("tissues", "t1"))
        centre = [round(place) for place in ndimage.center_of_mass(tissues > 0)]
        planes = range(centre[2] - 40, centre[2] + 40, 2)
        labels, images = (np.stack([_frame(part[:, :, k], centre) for k in planes]) for part in (tissues, t1))
        write_person(folder, person, labels.astype(np.uint8), {"t1": images}, held_out=person in HELD_OUT)
    return folder


def _frame(plane, centre):
    """The plane in the frame of slices, the brain's middle in the frame's."""
    padded = np.pad(plane, 256)
    x, y = (place + 256 - side // 2 for place, side in zip(centre, SLICE_SHAPE, strict=False))
    return padded[x : x + SLICE_SHAPE[0], y : y + SLICE_SHAPE[1]]


@pytest.mark.slow
@pytest.mark.real_data
def test_planted_copies_of_real_scans_are_found(oasis, tmp_path):
    import recall

    recall.main(oasis, 100, 0, tmp_path / "table.json")
    table = json.loads((tmp_path / "table.json").read_text())["table"]
    for name, kinds in table.items():
        for kind, row in kinds.items():
            assert row["alarms"] <= 0.01, (name, kind)
            assert name.endswith(EXTREME) or row["recall"] >= 0.95, (name, kind)
