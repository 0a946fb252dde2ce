"""The population prior: whose maps it is made of, and that making it twice gives the same."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from brainspade_cli.anatomy import BACKGROUND, CHANNELS, DEEP_GM, GM
from brainspade_cli.console import Reporter
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS, SLICE_SHAPE, slice_position
from brainspade_cli.preparing.prepare import build_prior, prepare
from brainspade_cli.preparing.scan import _has_lesion
from brainspade_cli.preparing.scan_table import ScanFiles
from brainspade_cli.slices import ScanRecord, create_slice_set, open_slice_set, write_record
from tests.phantoms import save, t1_of, tissue_phantom
from tests.preparing.test_prepare import region_phantom


class Listener(Reporter):
    """Keeps what was said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.said = []

    def say(self, text):
        self.said.append(text)


def add_scan(folder, name, channel, levels, split="train", population="healthy", deep=True):
    """A scan that is `channel` everywhere but for one corner pixel of deep grey matter."""
    maps = np.zeros((len(levels), CHANNELS, *SLICE_SHAPE), np.uint8)
    maps[:, channel] = 255
    if deep:
        maps[:, channel, 0, 0], maps[:, DEEP_GM, 0, 0] = 0, 255
    (folder / "scans" / name).mkdir(parents=True)
    np.save(folder / "scans" / name / "labels.npy", maps)
    zeros = (0,) * len(levels)
    positions = tuple(slice_position(level) for level in levels)
    record = ScanRecord(
        name, name, name, "made-up", split, population, (), True, positions, zeros, zeros, tuple(map(float, zeros))
    )
    write_record(folder, record)


def test_slices_are_averaged_over_those_who_have_them(tmp_path, monkeypatch):
    monkeypatch.setattr("brainspade_cli.preparing.prepare.GRID_SHAPE", (*SLICE_SHAPE, 9))
    folder = tmp_path / "set"
    create_slice_set(folder)
    add_scan(folder, "a", GM, range(1, 5))
    add_scan(folder, "b", BACKGROUND, range(3, 7))
    add_scan(folder, "unlisted", GM, range(3, 9))
    add_scan(folder, "held-out", GM, range(3, 9), split="held-out")
    add_scan(folder, "patient", GM, range(3, 9), population="tumour")
    add_scan(folder, "no-deep-grey", GM, range(3, 9), deep=False)
    path = build_prior(folder, {"a", "b", "held-out", "patient", "no-deep-grey", "refused"})
    prior = np.load(path)
    assert prior.dtype == np.uint8
    assert prior.shape == (CHANNELS, *SLICE_SHAPE, 9)
    grey, background = prior[GM, 50, 50], prior[BACKGROUND, 50, 50]
    assert grey[:8].tolist() == [0, 255, 255, 128, 128, 0, 0, 0]
    assert background[:8].tolist() == [255, 0, 0, 128, 128, 255, 255, 255]
    assert prior[DEEP_GM, 0, 0, :8].tolist() == [0, *[255] * 6, 0]
    assert build_prior(folder, {"held-out", "patient"}) is None


@pytest.fixture
def no_ants(monkeypatch):
    monkeypatch.setitem(sys.modules, "ants", None)


def test_a_second_run_makes_the_same_prior_and_changes_nothing(tmp_path, no_ants):
    labels = tissue_phantom()
    regions = region_phantom(labels)
    save(tmp_path / "scans/sub-01/regions.nii.gz", regions)
    save(tmp_path / "scans/sub-02/t1.nii.gz", t1_of(labels))
    save(tmp_path / "scans/sub-02/tumour.nii.gz", np.zeros(labels.shape, np.uint8))
    out = tmp_path / "set"

    def run():
        listener = Listener()
        summary = prepare(tmp_path / "scans", out, register=False, held_out=(), jobs=1, reporter=listener)
        return summary, listener.said

    first, said = run()
    assert first["labelled"] == 2
    assert not any("earlier runs" in line for line in said)
    assert [scan.population for scan in open_slice_set(out).scans] == ["healthy", "healthy"]
    prior = (out / "prior.npy").read_bytes()
    second, _ = run()
    assert second["unchanged"] == 2
    assert (out / "prior.npy").read_bytes() == prior

    shutil.rmtree(tmp_path / "scans/sub-02")
    third, said = run()
    assert third["unchanged"] == 1
    assert said[0] == f"{out} keeps 1 of earlier runs that {tmp_path / 'scans'} does not list: scans-sub-02."


def test_only_lesions_make_a_tumour_patient(tmp_path):
    mask = np.zeros((6, 6, 6), np.uint8)
    none = np.zeros(4, int)
    save(tmp_path / "empty.nii.gz", mask)
    mask[2, 3, 4] = 2
    save(tmp_path / "one.nii.gz", mask)
    (tmp_path / "damaged.nii.gz").write_bytes(b"nothing")
    healthy = ScanFiles("s", "d", "p", "train", {})
    assert not _has_lesion(replace(healthy, tumour=tmp_path / "empty.nii.gz"), none)
    assert _has_lesion(replace(healthy, tumour=tmp_path / "one.nii.gz"), none)
    assert _has_lesion(replace(healthy, tumour=tmp_path / "damaged.nii.gz"), none)
    assert not _has_lesion(healthy, none)
    assert _has_lesion(healthy, np.array([0, MIN_TUMOUR_PIXELS, 0]))
    assert not _has_lesion(healthy, np.array([0, MIN_TUMOUR_PIXELS - 1, 0]))
