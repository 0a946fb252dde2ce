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
from brainspade_cli.sampling.preview import PreviewPanel, PreviewRow, preview_sheet
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.pool import StylePool, StyleSource

ROWS = 8


def write_preview(layout: RawLayout, styles: StylePool, pairs: int) -> Path:
    """Write brainspade/preview.png: `ROWS` pairs spread over the brain's height, all of which must be there."""
    sources = {(source.channel, source.name, source.sha256): source for source in styles.sources}
    wanted = spread_over_height(row for row in rows(layout) if row["index"] < pairs)
    chosen = {row["index"]: row for row in rows(layout) if row["index"] in wanted}
    sheet = preview_sheet([_read_row(layout, chosen[index], sources) for index in wanted])
    path = layout.provenance / "preview.png"
    with replacing(path) as temporary:
        sheet.save(temporary, "png")
    return path


def spread_over_height(pairs: Iterable[dict[str, Any]]) -> list[int]:
    """Indices of up to `ROWS` pairs, low slices first, half of them with a lesion where there are both kinds.

    `pairs`: their rows in the manifest, in any order. Those of a kind are sorted by height, or by index where labels
    were given and have none, and cut into as many equal parts as the kind has rows. The middles of these are taken,
    for neither the lowest nor the highest slice of a brain shows much.
    """
    kinds: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
    for row in pairs:
        kinds[bool(row["lesion"])].append((number(row.get("position_mm")) or 0.0, row["index"]))
    present = [sorted(kind) for kind in kinds.values() if kind]
    share = ROWS // len(present)
    chosen = {kind[len(kind) * (2 * part + 1) // (2 * share)] for kind in present for part in range(share)}
    return [index for _, index in sorted(chosen)]


def _read_row(layout: RawLayout, row: dict[str, Any], sources: dict[tuple[str, str, str], StyleSource]) -> PreviewRow:
    label = _own(layout.label_path(row["case"]))
    contrast = row.get("oedema_contrast")
    height = number(row.get("position_mm"))
    notes = [] if height is None else [f"z {height:.0f} mm"]
    notes += ["lesion"] if row["lesion"] else []
    notes += [f"oedema at {contrast:.0%}"] if type(contrast) is float and contrast < 1 else []
    notes += ["failed its checks"] if row["problems"] else []
    caption = ", ".join([row["case"], *notes])
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
