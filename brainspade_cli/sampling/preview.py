"""A picture to judge a run by: rows of label, and for each channel the style slice, the image and the label over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brainspade_cli.anatomy import LABELS, Label
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.pictures import colour_label, grey_of, overlay, upright

COLUMNS = 2
MARGIN = 6
CAPTION = 14
INK = (225, 225, 225)
PAPER = (24, 24, 24)


@dataclass(frozen=True)
class PreviewPanel:
    """One channel of a row: image and style slice, (192, 256) z-scored; `style` None where no slice can be shown.

    Without a `style_name` there is no place for a style.
    """

    channel: str
    style_name: str | None
    image: NDArray[np.float32]
    style: NDArray[np.float32] | None


@dataclass(frozen=True)
class PreviewRow:
    """One pair: its label, uint8 (192, 256), and a panel for each channel."""

    caption: str
    label: NDArray[np.uint8]
    panels: tuple[PreviewPanel, ...]


def case_caption(name: str, height: float | None, row: Mapping[str, Any], *notes: str) -> str:
    """A case's name, and what is to be known of it: its height in mm, a lesion, further notes, checks that it failed.

    `row`: its row in the manifest, empty where there is none.
    """
    parts = [name]
    parts += [f"z {round(height)} mm"] if height is not None else []
    parts += ["lesion"] if row.get("lesion") is True else []
    parts += notes
    parts += ["failed its checks"] if row.get("problems") else []
    return ", ".join(parts)


def preview_sheet(rows: Sequence[PreviewRow], labels: Sequence[Label] = LABELS) -> Image.Image:
    """All rows in two columns, with a legend. Anterior is up and the patient's left is at the left (neurological).

    `labels`: the table of the rows' labels. Raises ValueError without rows or where they differ in their number of
    panels.
    """
    if len({len(row.panels) for row in rows}) != 1:
        raise ValueError("a preview needs rows, all with the same number of channels")
    tiles = [_tiles(row, labels) for row in rows]
    width = max(map(len, tiles)) * (SLICE_SHAPE[0] + MARGIN) + MARGIN
    height = SLICE_SHAPE[1] + 2 * CAPTION + MARGIN
    lines = -(-len(rows) // COLUMNS)
    columns = min(COLUMNS, len(rows))
    sheet = Image.new("RGB", (width * columns, height * lines + 2 * CAPTION), PAPER)
    for place, row in enumerate(rows):
        strip = _strip(row.caption, tiles[place], width, height)
        sheet.paste(strip, (width * (place % columns), height * (place // columns)))
    _legend(ImageDraw.Draw(sheet), height * lines + MARGIN, labels)
    return sheet


def _tiles(row: PreviewRow, labels: Sequence[Label]) -> list[tuple[str, NDArray[np.uint8] | None]]:
    """The pictures (X, Y, 3) of a row, each with its caption."""
    tiles: list[tuple[str, NDArray[np.uint8] | None]] = [("label", colour_label(row.label, labels))]
    for panel in row.panels:
        if panel.style_name is not None:
            tiles.append((f"style: {panel.style_name}", None if panel.style is None else grey_of(panel.style)))
        grey = grey_of(panel.image)
        tiles += [(panel.channel, grey), (f"{panel.channel}, label", overlay(grey, row.label, labels))]
    return tiles


def _strip(title: str, tiles: Sequence[tuple[str, NDArray[np.uint8] | None]], width: int, height: int) -> Image.Image:
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((MARGIN, 0), title, fill=INK)
    for place, (caption, picture) in enumerate(tiles):
        left = MARGIN + place * (SLICE_SHAPE[0] + MARGIN)
        draw.text((left, CAPTION), _shortened(draw, caption), fill=INK)
        if picture is not None:
            strip.paste(Image.fromarray(np.ascontiguousarray(upright(picture))), (left, 2 * CAPTION))
        else:
            draw.text((left + MARGIN, 2 * CAPTION + SLICE_SHAPE[1] // 2), "no slice to show", fill=INK)
    return strip


def _shortened(draw: ImageDraw.ImageDraw, text: str) -> str:
    """The text, cut to the width of a picture; what the built-in font lacks becomes a question mark."""
    text = text.encode("ascii", "replace").decode()
    if draw.textlength(text) <= SLICE_SHAPE[0]:
        return text
    while text and draw.textlength(f"{text}...") > SLICE_SHAPE[0]:
        text = text[:-1]
    return f"{text}..."


def _legend(draw: ImageDraw.ImageDraw, top: int, labels: Sequence[Label]) -> None:
    left = float(MARGIN)
    for label in labels[1:]:
        draw.rectangle((left, top + 2, left + 8, top + 10), fill=label.colour)
        draw.text((left + 12, top), label.name, fill=INK)
        left += 24 + draw.textlength(label.name)
    draw.text((left, top), "patient's left is at the left", fill=INK)
