from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainspade_cli.anatomy import LABELS, OEDEMA, TUMOUR
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.sampling.preview import CAPTION, MARGIN, PreviewPanel, PreviewRow, preview_sheet
from tests.sampling.parts import ellipse_label


def row(label: np.ndarray, *, style: bool = True, channels: int = 1, name: str = "t1.nii.gz") -> PreviewRow:
    image = np.where(label > 0, np.float32(0), np.float32(-4))
    panels = tuple(PreviewPanel(f"c{n}", name, image, image if style else None) for n in range(channels))
    return PreviewRow("case", label, panels)


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (3, 2), (8, 1)])
def test_the_sheet_holds_every_row(count: int, channels: int) -> None:
    sheet = preview_sheet([row(ellipse_label(), channels=channels) for _ in range(count)])
    columns, lines = min(count, 2), -(-count // 2)
    assert sheet.width == columns * ((1 + 3 * channels) * (SLICE_SHAPE[0] + MARGIN) + MARGIN)
    assert sheet.height == lines * (SLICE_SHAPE[1] + 2 * CAPTION + MARGIN) + 2 * CAPTION


def test_anterior_is_up_and_left_is_left() -> None:
    label = np.zeros(SLICE_SHAPE, np.uint8)
    # Low x is the patient's left, high y is anterior.
    label[10:30, 220:250] = TUMOUR
    picture = np.asarray(preview_sheet([row(label)]))
    found = np.argwhere((picture == LABELS[TUMOUR].colour).all(axis=2))
    found = found[found[:, 0] < 2 * CAPTION + SLICE_SHAPE[1]]
    assert len(found) == 20 * 30
    top, left = found.min(axis=0) - (2 * CAPTION, MARGIN)
    assert (top, left) == (SLICE_SHAPE[1] - 250, 10)


def test_brains_show_and_a_missing_style_does_not() -> None:
    with_style = np.asarray(preview_sheet([row(ellipse_label())])).astype(int)
    without = np.asarray(preview_sheet([row(ellipse_label(), style=False)])).astype(int)
    panel = slice(SLICE_SHAPE[0] + 2 * MARGIN, 2 * (SLICE_SHAPE[0] + MARGIN))
    assert (with_style[100:180, panel] == 127).mean() > 0.5
    assert not (without[100:180, panel] == 127).any()


def test_long_and_foreign_names_are_cut_to_fit() -> None:
    plain = row(ellipse_label(), name="x" * 15)
    long = row(ellipse_label(), name="патиент_" + "x" * 200)
    right = 2 * (SLICE_SHAPE[0] + MARGIN)
    gap = (right, CAPTION, right + MARGIN, 2 * CAPTION)
    assert preview_sheet([long]).crop(gap).tobytes() == preview_sheet([plain]).crop(gap).tobytes()
    assert preview_sheet([long]).tobytes() != preview_sheet([plain]).tobytes()


def test_the_label_lies_over_the_image() -> None:
    label = ellipse_label(tumour=True)
    picture = np.asarray(preview_sheet([row(label)])).astype(int)
    left = 3 * (SLICE_SHAPE[0] + MARGIN) + MARGIN
    over = picture[2 * CAPTION : 2 * CAPTION + SLICE_SHAPE[1], left : left + SLICE_SHAPE[0]]
    reddish = (over[..., 0] > over[..., 1] + 20).sum()
    assert reddish == np.isin(label, (TUMOUR, OEDEMA)).sum()
    assert (over[label.T[::-1] == 0] == 0).all()


def test_without_style_names_there_are_no_places_for_styles() -> None:
    bare = [
        PreviewRow("case", r.label, tuple(replace(p, style_name=None) for p in r.panels))
        for r in [row(ellipse_label())]
    ]
    assert preview_sheet(bare).width == 3 * (SLICE_SHAPE[0] + MARGIN) + MARGIN


def test_rows_must_agree() -> None:
    with pytest.raises(ValueError, match="same number"):
        preview_sheet([])
    with pytest.raises(ValueError, match="same number"):
        preview_sheet([row(ellipse_label()), row(ellipse_label(), channels=2)])
