import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainspade_cli.anatomy import (
    BRAINSTEM,
    CHANNELS,
    CSF,
    DEEP_GM,
    FAST,
    GM,
    LABELS,
    OEDEMA,
    TUMOUR,
    WM,
    region_scheme,
)
from brainspade_cli.geometry import GRID_SHAPE, grid_affine
from brainspade_cli.preparing.partial_volumes import combine, label_fractions, quantise
from brainspade_cli.preparing.registration import centring
from brainspade_cli.preparing.volumes import Volume, read_volume
from tests.phantoms import save, tissue_phantom

SHAPE = (3, 4)
fraction = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))


def test_the_label_table_is_consecutive_from_background():
    assert [label.channel for label in LABELS] == list(range(CHANNELS))
    assert LABELS[0].name == "background"


def test_a_parcelled_cortex_is_grey_matter():
    """aparc+aseg holds areas in place of 3 and 42."""
    scheme = region_scheme(frozenset({0, 2, 41, 1003, 1035, 2001, 2028, 1004, 2004}))
    assert [scheme[value] for value in (1003, 1035, 2001, 2028)] == [GM] * 4
    assert [scheme[value] for value in (1004, 2004)] == [WM] * 2


@settings(max_examples=60)
@given(
    brain=fraction,
    tissues=hnp.arrays(np.float32, (3, *SHAPE), elements=st.floats(0, 1, width=32)),
    deep=fraction,
    stem=fraction,
    tumour=fraction,
    oedema=fraction,
)
def test_combined_maps_are_fractions_that_sum_to_one(brain, tissues, deep, stem, tumour, oedema):
    maps = combine(brain, tissues, deep, stem, tumour, oedema)
    assert maps.shape == (CHANNELS, *SHAPE)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert np.allclose(maps.sum(axis=0), 1, atol=1e-5)
    assert (maps[TUMOUR] <= tumour + 1e-5).all()
    quantised = quantise(maps)
    assert (quantised.astype(int).sum(axis=0) == 255).all()
    assert np.abs(quantised / 255.0 - maps).max() <= 1 / 255 + 1e-6


def test_who_takes_a_voxel_first():
    one, none = np.ones((1,), np.float32), np.zeros((1,), np.float32)
    tissues = np.stack([none, 0.25 * one, 0.75 * one])
    assert combine(one, tissues, none, none, one, none)[TUMOUR] == 1
    assert combine(one, tissues, one, none, none, 0.4 * one)[DEEP_GM, 0] == np.float32(0.6)
    assert np.allclose(combine(one, tissues, none, 0.5 * one, none, none)[[GM, WM, BRAINSTEM], 0], [0.125, 0.375, 0.5])
    assert combine(none, tissues, one, none, none, none)[0] == 1
    assert combine(one, np.zeros((3, 1), np.float32), none, none, none, none)[CSF] == 1
    crowded = combine(one, tissues, none, none, 0.8 * one, 0.8 * one)
    assert np.allclose(crowded[[TUMOUR, OEDEMA], 0], 0.5)


def test_label_fractions_keep_volumes_and_place(tmp_path):
    labels = tissue_phantom()
    volume = read_volume(save(tmp_path / "tissues.nii.gz", labels, axes="LIA"))
    to_world = centring(volume.data > 0, volume.affine) @ grid_affine()
    fractions = label_fractions(volume, FAST, to_world)
    assert fractions.shape == (CHANNELS, *GRID_SHAPE)
    for channel in (CSF, GM, WM):
        assert np.isclose(fractions[channel].sum(), 8.0 * (labels == channel).sum(), rtol=0.02)
    total = fractions.sum(axis=0)
    assert total.max() <= 1 + 1e-4
    middle = np.argwhere(fractions[WM] > 0.5).mean(axis=0)
    assert np.allclose(middle, [95.5, 127.5, 78], atol=2)


def test_unknown_values_count_as_nothing():
    data = np.full((30, 30, 30), 7, np.float32)
    fractions = label_fractions(Volume(None, data, np.eye(4)), FAST, grid_affine())
    assert fractions.max() == 0
