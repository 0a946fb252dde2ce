"""A clinical scan as it leaves the scanner, as a style."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from brainspade_cli.errors import ScanError
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.arguments import parse_styles
from brainspade_cli.styles.pool import load_styles
from brainspade_cli.styles.scan import load_style
from brainspade_cli.styles.style_range import style_range
from brainspade_cli.weights import open_bundle
from tests.real_data import scan
from tests.sampling.parts import quiet

pytestmark = pytest.mark.real_data


def test_a_raw_scan_is_used_and_what_was_seen_is_said():
    style = load_style(scan("tcga-raw/sub-FG-6692/flair.nii.gz"))
    assert style.skull
    assert 10 <= len(style.slices) <= 26
    assert "shows a skull" in style.notes[0].text
    assert "thick slices (5.5 mm)" in style.notes[1].text


def test_a_raw_t1_is_stripped_or_refused_and_never_painted_as_a_flair():
    arguments = parse_styles([str(scan("tcga-raw/sub-FG-6692/t1.nii.gz"))])
    if find_spec("deepbet"):
        (source,) = load_styles(open_bundle(), arguments, quiet()).sources
        assert source.stripped
        assert not source.place.mistaken
    else:
        with pytest.raises(ScanError, match="looks to the weights like flair, not t1"):
            load_styles(open_bundle(), arguments, quiet())


@pytest.mark.parametrize("name", ["oasis/sub-1113/t1.nii.gz", "brats/sub-CBICA_ABM_1/flair.nii.gz"])
def test_a_stripped_scan_raises_no_warning(name):
    style = load_style(scan(name))
    assert not style.skull
    assert style.notes == ()


@pytest.fixture(scope="module")
def shipped():
    bundle = open_bundle()
    return bundle.network("style_encoder"), style_range(bundle)


def place_of(shipped, channel, slices):
    encoder, known = shipped
    with torch.inference_mode():
        codes = encoder(torch.from_numpy(slices)[:, None])[0].double().numpy()
    return known.place(channel, np.median(codes, axis=0))


@pytest.mark.parametrize("name", ["oasis/sub-1007/t1.nii.gz", "brats/sub-CBICA_AQO_1/flair.nii.gz"])
def test_scans_of_held_out_people_lie_inside_and_other_contrasts_outside(shipped, name):
    style = load_style(scan(name))
    named, other = ("t1", "flair") if "t1" in name else ("flair", "t1")
    assert not place_of(shipped, named, style.slices).outside
    misnamed = place_of(shipped, other, style.slices)
    assert misnamed.outside
    assert misnamed.nearest == named
    # As in CT: tissue all alike, and a few bright spots.
    brain = style.slices > BACKGROUND_VALUE
    spotted = np.where(style.slices > 1.5, 30.0, 0.0) + 0.3 * np.random.default_rng(0).standard_normal(brain.shape)
    scored = (spotted - spotted[brain].mean()) / spotted[brain].std()
    flat = np.where(brain, np.maximum(scored, BACKGROUND_VALUE + 0.1), BACKGROUND_VALUE).astype(np.float32)
    assert place_of(shipped, named, flat).outside
