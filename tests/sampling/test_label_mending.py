from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainspade_cli.anatomy import BACKGROUND, BRAINSTEM, CHANNELS, CSF, DEEP_GM, GM, LESIONS, OEDEMA, TUMOUR, WM
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.sampling.label_checks import crumbs, holes
from brainspade_cli.sampling.label_maps import to_maps
from brainspade_cli.sampling.label_mending import (
    HALO_PIXELS,
    OUTLINE_PIXELS,
    close_gaps,
    drop_crumbs,
    replace_lesions,
    replace_structures,
)
from brainspade_cli.structure_places import STRUCTURES
from tests.sampling.parts import ellipse_label


def drawn(seed: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Maps and label of a brain of random tissues and lesions, soft at its outline, with specks of background in it."""
    generator = torch.Generator().manual_seed(seed)
    values = spread * torch.randn(1, CHANNELS, *SLICE_SHAPE, generator=generator)
    soft = ndimage.gaussian_filter((ellipse_label() == BACKGROUND).astype(np.float32), 1.0)
    values[0, BACKGROUND] += torch.from_numpy(12 * spread * (soft - 0.5))
    maps, labels = to_maps(values)
    return maps.numpy()[0], labels.numpy()[0]


@given(st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=25)
def test_background_has_no_share_within_a_brain_and_all_else_stays(seed: int, spread: float) -> None:
    maps, label = drawn(seed, spread)
    before, labelled = maps.copy(), label.copy()
    gaps = holes(label)
    close_gaps(maps, label)
    assert (maps.sum(axis=0, dtype=int) == 255).all()
    assert (maps.argmax(axis=0) == label).all()
    assert not holes(label).any()
    deep = ndimage.distance_transform_cdt(label != BACKGROUND, "taxicab") > OUTLINE_PIXELS
    assert not maps[BACKGROUND, deep | gaps].any()
    # What is no gap keeps its label, what lies outside or in the outline its maps as well.
    assert (label[~gaps] == labelled[~gaps]).all()
    assert (maps[:, ~(deep | gaps)] == before[:, ~(deep | gaps)]).all()
    # A gap becomes the next likely tissue, CSF where there is none, and no lesion.
    assert (label[gaps] == CSF + before[CSF:TUMOUR, gaps].argmax(axis=0)).all()
    assert (maps[list(LESIONS)][:, gaps] == before[list(LESIONS)][:, gaps]).all()


def test_the_surroundings_of_a_hole_lose_their_share_of_background() -> None:
    label = ellipse_label(tumour=True)
    maps = 255 * (np.arange(CHANNELS)[:, None, None] == label).astype(np.uint8)
    x, y = np.argwhere(label == TUMOUR)[0]
    for place, channel in (((90, 120), WM), ((90, 121), GM), ((x, y), TUMOUR)):
        label[place] = channel
        maps[(slice(None), *place)] = 0
        maps[(BACKGROUND, *place)], maps[(channel, *place)] = 100, 155
    maps[:, 90, 122] = 0
    maps[BACKGROUND, 90, 122], maps[GM, 90, 122], label[90, 122] = 155, 100, BACKGROUND
    close_gaps(maps, label)
    assert [label[90, 120], label[90, 121], label[90, 122], label[x, y]] == [WM, GM, GM, TUMOUR]
    assert [maps[WM, 90, 120], maps[GM, 90, 121], maps[GM, 90, 122], maps[TUMOUR, x, y]] == [255] * 4


def test_two_pixels_of_a_brain_are_its_outline() -> None:
    label = np.full(SLICE_SHAPE, WM, np.uint8)
    label[:50] = BACKGROUND
    maps = 255 * (np.arange(CHANNELS)[:, None, None] == label).astype(np.uint8)
    maps[WM, 50:56], maps[BACKGROUND, 50:56] = 200, 55
    close_gaps(maps, label)
    assert (maps[BACKGROUND, 50:56] == np.array([55, 55, 0, 0, 0, 0])[:, None]).all()


@pytest.mark.parametrize("loose", [False, True])
def test_crumbs_become_background(loose: bool) -> None:
    label = ellipse_label()
    if loose:
        label[2:6, 2:6] = GM
    maps = 255 * (np.arange(CHANNELS)[:, None, None] == label).astype(np.uint8)
    assert drop_crumbs(maps, label) == loose
    assert (label == ellipse_label()).all()
    assert (maps.argmax(axis=0) == label).all()
    assert not crumbs(label).any()


@given(st.integers(0, 2**31), st.integers(8, 180), st.integers(8, 240), st.integers(1, 12))
@settings(max_examples=40)
def test_lesions_are_replaced_by_the_tissue_nearest_to_them(seed: int, x: int, y: int, radius: int) -> None:
    maps, label = drawn(seed, 1.0)
    for lesion in LESIONS:
        maps[GM] += maps[lesion]
        maps[lesion] = 0
    label[:] = maps.argmax(axis=0)
    columns, rows = np.indices(label.shape)
    strays = (np.hypot(columns - x, rows - y) <= radius) & (label != BACKGROUND)
    rim = ndimage.binary_dilation(strays, iterations=HALO_PIXELS) & ~strays & (label != BACKGROUND)
    soft_x, soft_y = np.nonzero(rim)
    share = maps[label[soft_x, soft_y], soft_x, soft_y] // 8
    maps[label[soft_x, soft_y], soft_x, soft_y] -= share
    maps[OEDEMA, soft_x, soft_y] += share
    maps[:, strays], maps[TUMOUR, strays], label[strays] = 0, 255, TUMOUR
    before, labelled = maps.copy(), label.copy()
    assert replace_lesions(maps, label, strays)
    assert (maps.sum(axis=0, dtype=int) == 255).all()
    assert (maps.argmax(axis=0) == label).all()
    assert not maps[list(LESIONS)].any()
    # Around them labels stay, and further away the maps as well.
    assert (label[~strays] == labelled[~strays]).all()
    assert (maps[:, ~strays & ~rim] == before[:, ~strays & ~rim]).all()
    assert not np.isin(label[strays], (BACKGROUND, *LESIONS)).any()
    if strays.any():
        place = np.argwhere(strays)[len(np.argwhere(strays)) // 2]
        sources = np.argwhere((labelled != BACKGROUND) & (labelled < TUMOUR))
        distances = np.hypot(*(sources - place).T)
        near = sources[distances == distances.min()]
        assert label[tuple(place)] in labelled[near[:, 0], near[:, 1]]


@pytest.mark.parametrize("beside", [GM, OEDEMA])
def test_structures_give_way_to_what_lies_beside_them(beside: int) -> None:
    label = np.full(SLICE_SHAPE, WM, np.uint8)
    label[60:90, 100:130] = beside
    label[70:76, 110:116] = DEEP_GM
    label[80:84, 120:124] = BRAINSTEM
    label[20:40, 20:40] = DEEP_GM
    label[150:160, 200:210] = BRAINSTEM
    maps = 255 * (np.arange(CHANNELS)[:, None, None] == label).astype(np.uint8)
    maps[DEEP_GM, 76, 110:116], maps[beside, 76, 110:116] = 100, 155
    strays = np.isin(label, STRUCTURES)
    strays[:60], strays[90:] = False, False
    assert replace_structures(maps, label, strays)
    assert (label[60:90, 100:130] == beside).all()
    assert (maps[beside, 60:90, 100:130] == 255).all()
    # What lies in its place stays.
    assert (label == DEEP_GM).sum() == (maps[DEEP_GM] > 0).sum() == 400
    assert (label == BRAINSTEM).sum() == 100
    assert (maps.argmax(axis=0) == label).all()


def test_a_structure_behind_background_becomes_neither_itself_nor_another() -> None:
    label = np.full(SLICE_SHAPE, BACKGROUND, np.uint8)
    label[60:90, 100:130] = DEEP_GM
    label[92:100, 100:130] = DEEP_GM
    label[100:110, 100:130] = BRAINSTEM
    label[120:130, 100:130] = GM
    maps = 255 * (np.arange(CHANNELS)[:, None, None] == label).astype(np.uint8)
    strays = np.zeros(label.shape, bool)
    strays[92:100, 100:130] = True
    assert replace_structures(maps, label, strays)
    assert (label[strays] == GM).all()
    assert (maps.argmax(axis=0) == label).all()


@given(st.integers(0, 2**31), st.integers(8, 180), st.integers(8, 240), st.integers(1, 12))
@settings(max_examples=25)
def test_maps_and_label_agree_after_structures_have_left(seed: int, x: int, y: int, radius: int) -> None:
    maps, label = drawn(seed, 1.0)
    columns, rows = np.indices(label.shape)
    strays = (np.hypot(columns - x, rows - y) <= radius) & np.isin(label, STRUCTURES)
    before, labelled = maps.copy(), label.copy()
    assert replace_structures(maps, label, strays)
    assert (maps.sum(axis=0, dtype=int) == 255).all()
    assert (maps.argmax(axis=0) == label).all()
    assert (label[~strays] == labelled[~strays]).all()
    assert not np.isin(label[strays], (BACKGROUND, *STRUCTURES)).any()
    far = ~ndimage.binary_dilation(strays, iterations=HALO_PIXELS)
    assert (maps[:, far] == before[:, far]).all()


def test_a_brain_of_structures_alone_stays() -> None:
    label = np.zeros(SLICE_SHAPE, np.uint8)
    label[40:60, 100:120], label[80:90, 100:120] = BRAINSTEM, DEEP_GM
    maps = 255 * (np.arange(CHANNELS)[:, None, None] == label).astype(np.uint8)
    assert not replace_structures(maps, label, label == BRAINSTEM)
    assert (label == BRAINSTEM).sum() == 400


def test_lesions_with_no_tissue_around_stay() -> None:
    label = np.zeros(SLICE_SHAPE, np.uint8)
    label[40:60, 100:120] = label[130:150, 100:120] = TUMOUR
    maps = 255 * (np.arange(CHANNELS)[:, None, None] == label).astype(np.uint8)
    assert not replace_lesions(maps, label, label == TUMOUR)
    assert (label == TUMOUR).sum() == 800
