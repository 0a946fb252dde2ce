"""A flagged slice as a picture: what was made, the training slice it repeats, and that slice laid over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from brainspade_cli.anatomy import LABELS
from brainspade_cli.auditing.canonical import middle
from brainspade_cli.evaluating.image_statistics import standardise
from brainspade_cli.files import replacing
from brainspade_cli.pictures import colour_label, grey_of, upright
from brainspade_cli.slices import BACKGROUND_VALUE

_MARGIN = 6
_CAPTION = 14
_INK = (225, 225, 225)
_PAPER = (24, 24, 24)


def write_pair(
    path: Path,
    made: NDArray[np.generic],
    training: NDArray[np.generic],
    overlay: NDArray[np.float32],
    captions: tuple[str, str],
    *,
    is_label: bool,
) -> None:
    """Write three tiles to a PNG: the slice made (X, Y), the training slice, and the latter where it fits the former.

    overlay: the affine map (2, 3) of `matching.Matches`. Labels are ids of this project's table.
    """
    seen = [_label(part) if is_label else _image(part) for part in (made, training)]
    laid = _laid(seen[1], overlay, *seen)
    tiles = [_tile(part, is_label) for part in (seen[0], seen[1], laid)]
    width = sum(tile.width for tile in tiles) + _MARGIN * (len(tiles) + 1)
    height = max(tile.height for tile in tiles) + 2 * _CAPTION + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    left = _MARGIN
    texts = (("made", captions[0]), ("training", captions[1]), ("training, laid over", "the one made"))
    for tile, lines in zip(tiles, texts, strict=True):
        for row, line in enumerate(lines):
            draw.text((left, row * _CAPTION), line.encode("ascii", "replace").decode()[: tile.width // 6], fill=_INK)
        sheet.paste(tile, (left, 2 * _CAPTION))
        left += tile.width + _MARGIN
    with replacing(path) as temporary:
        sheet.save(temporary, "png")


_Seen = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _label(label: NDArray[np.generic]) -> _Seen:
    return np.asarray(label, np.float32), np.asarray(label) > 0


def _image(image: NDArray[np.generic]) -> _Seen:
    scored, brain = standardise(image)
    return np.where(brain, scored, np.float32(BACKGROUND_VALUE)), brain


def _laid(moving: _Seen, overlay: NDArray[np.float32], made: _Seen, training: _Seen) -> _Seen:
    """The training slice read at the place to which the map sends each pixel of the slice made."""
    linear = overlay[:, :2]
    # The map counts pixels of 2 mm from the middle of the frame, which lies half a pixel of 1 mm before the brain's.
    from_made, from_training = (np.array(middle(part[1])) - 0.5 for part in (made, training))
    offset = from_training + 2 * overlay[:, 2] - linear @ from_made
    values, brain = (
        ndimage.affine_transform(
            np.asarray(part, np.float32), linear, offset, made[0].shape, order=0, mode="constant", cval=outside
        )
        for part, outside in zip(moving, (moving[0].min(), 0), strict=True)
    )
    return values, brain > 0


def _tile(seen: _Seen, is_label: bool) -> Image.Image:
    picture = colour_label(np.clip(seen[0], 0, len(LABELS) - 1).astype(np.uint8)) if is_label else grey_of(seen[0])
    return Image.fromarray(np.ascontiguousarray(upright(picture)))
