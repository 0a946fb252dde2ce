from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.anatomy import OEDEMA, WM
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.sampling.lesion_borders import softened
from brainspade_cli.sampling.oedema import LEAST_CONTRAST, mixture, with_contrast
from brainspade_cli.sampling.plan import PairPlan
from tests.sampling.parts import ellipse_label, one_hot_maps

LABEL = ellipse_label(tumour=True)
WITH = LabelDraw(one_hot_maps(LABEL), LABEL, 0.0, lesion=True)
WITHOUT = LabelDraw(one_hot_maps(ellipse_label()), ellipse_label(), 0.0, lesion=False)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_the_share_asked_for_of_oedemas_is_faint(fraction: float) -> None:
    plan = PairPlan(seed=2, faint_fraction=fraction)
    contrasts = np.array([with_contrast(WITH, plan, index).oedema_contrast for index in range(1000)])
    faint = contrasts[contrasts < 1]
    assert len(faint) / 1000 == pytest.approx(fraction, abs=0.04)
    if fraction:
        assert LEAST_CONTRAST <= faint.min() < LEAST_CONTRAST + 0.02
        assert faint.mean() == pytest.approx((LEAST_CONTRAST + 1) / 2, abs=0.04)


def test_what_has_no_oedema_is_what_it_was() -> None:
    assert with_contrast(WITHOUT, PairPlan(faint_fraction=1.0), 3) is WITHOUT
    ((share, maps),) = mixture(WITHOUT)
    assert share == 1
    assert (maps == WITHOUT.maps).all()


@given(st.integers(0, 2**31), st.integers(0, 10_000), st.integers(0, 255))
def test_maps_of_a_mixture_are_partial_volumes(seed: int, index: int, soft: int) -> None:
    maps = WITH.maps.copy()
    x, y = np.argwhere(LABEL == OEDEMA)[0]
    maps[OEDEMA, x, y], maps[WM, x, y] = soft, 255 - soft
    draw = with_contrast(LabelDraw(maps, LABEL, 0.0, lesion=True), PairPlan(seed, faint_fraction=1.0), index)
    before = maps.copy()
    (much, plain), (little, without) = mixture(draw)
    assert much == draw.oedema_contrast
    assert much + little == pytest.approx(1)
    assert (plain == softened(maps)).all()
    assert (without.sum(axis=0, dtype=int) == 255).all()
    assert not without[OEDEMA].any()
    assert without[WM, x, y] > 250
    assert (maps == before).all()
