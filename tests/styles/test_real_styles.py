"""A clinical scan as it leaves the scanner, as a style."""

import pytest

from brainspade_cli.styles.scan import load_style
from tests.real_data import scan

pytestmark = pytest.mark.real_data


def test_a_raw_scan_is_used_and_what_was_seen_is_said():
    style = load_style(scan("tcga-raw/sub-FG-6692/flair.nii.gz"))
    assert style.skull
    assert style.thickness_mm == pytest.approx(5.5)
    assert 10 <= len(style.slices) <= 26
    assert "shows a skull" in style.warnings[0]
    assert "thick slices (5.5 mm)" in style.warnings[1]


@pytest.mark.parametrize("name", ["oasis/sub-1113/t1.nii.gz", "brats/sub-CBICA_ABM_1/flair.nii.gz"])
def test_a_stripped_scan_raises_no_warning(name):
    style = load_style(scan(name))
    assert not style.skull
    assert style.warnings == ()
