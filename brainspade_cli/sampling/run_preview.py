"""The preview of a run: a few pairs, read back from the files as they were written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.checked import number
from brainspade_cli.errors import DatasetError, InputError
from brainspade_cli.evaluating.image_statistics import standardise
from brainspade_cli.files import replacing
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling.manifest import rows
from brainspade_cli.sampling.preview import PreviewPanel, PreviewRow, case_caption, preview_sheet
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.pool import StylePool, StyleSource

ROWS = 8


def write_preview(layout: RawLayout, styles: StylePool, pairs: int) -> Path:
    """Write brainspade/preview.png: `ROWS` pairs spread over the brain's height, all of which must be there."""
    sources = {(source.channel, source.name, source.sha256): source for source in styles.sources}
    wanted = spread_over_height(row for row in rows(layout) if row["index"] < pairs)
    chosen = {row["index"]: row for row in rows(layout) if row["index"] in wanted}
    sheet = preview_sheet([_read_row(layout, chosen[index], sources) for index in wanted if index in chosen])
    path = layout.provenance / "preview.png"
    with replacing(path) as temporary:
        sheet.save(temporary, "png")
    return path


def spread_over_height(pairs: Iterable[dict[str, Any]]) -> list[int]:
    """Indices of up to `ROWS` pairs, low slices first, up to half of them with a lesion where there are both kinds.

    `pairs`: rows of a manifest, at least one, in any order, one for each pair. Each kind is sorted by height, by index
    where none has one, and the one at 1/16 of its pairs is taken, at 3/16 and so on, of the kinds in turn: where there
    are many, neither the lowest slice nor the highest, which show little of a brain, and none twice at one height.
    """
    columns = np.dtype([("height", np.float64), ("index", np.int64), ("lesion", np.bool_)])
    values = ((number(row.get("position_mm")) or 0.0, row["index"], row["lesion"]) for row in pairs)
    table = np.fromiter(values, columns)  # not a list, for there may be a million pairs
    table.sort(order=["height", "index"])
    kinds = [kind for kind in (table[~table["lesion"]], table[table["lesion"]]) if len(kind)]
    turns = [(place, kinds[place % len(kinds)]) for place in range(ROWS)]
    chosen = {tuple(kind[len(kind) * (2 * place + 1) // (2 * ROWS)].item()[:2]) for place, kind in turns}
    return [index for _, index in sorted(chosen)]


def _read_row(layout: RawLayout, row: dict[str, Any], sources: dict[tuple[str, str, str], StyleSource]) -> PreviewRow:
    label = _own(layout.label_path(row["case"]))
    contrast = row.get("oedema_contrast")
    notes = [f"oedema at {contrast:.0%} contrast"] if type(contrast) is float and contrast < 1 else []
    caption = case_caption(row["case"], number(row.get("position_mm")), row, *notes)
    return PreviewRow(caption, label.astype(np.uint8), tuple(_panels(layout, row, sources)))


def _panels(
    layout: RawLayout, row: dict[str, Any], sources: dict[tuple[str, str, str], StyleSource]
) -> Iterator[PreviewPanel]:
    for channel, style in enumerate(row["styles"]):
        source = sources.get((style["channel"], style["name"], style["sha256"]))
        stored = _own(layout.image_path(row["case"], channel))
        if source is None or not 0 <= style["slice"] < len(source.mean):
            # An edited manifest must not cost the run its end.
            scored, brain = standardise(stored)
            yield PreviewPanel("?", "?", np.where(brain, scored, np.float32(BACKGROUND_VALUE)), None)
            continue
        shown = None if source.slices is None else source.slices[style["slice"]].astype(np.float32)
        image = np.where(stored == 0, np.float32(BACKGROUND_VALUE), source.scale.z_scores(stored))
        yield PreviewPanel(source.channel, source.name, image, shown)


def _own(path: Path) -> NDArray[Any]:
    """A plane (X, Y) that this run or an earlier one has written; raises DatasetError saying how to get it back."""
    try:
        return read_plane(path)[0]
    except InputError as error:
        raise DatasetError(
            f"{path} was damaged after it had been made; delete it and give the same command again, which makes its"
            " pair anew."
        ) from error
