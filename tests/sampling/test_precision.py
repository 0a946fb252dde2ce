"""The same run in bf16 and in fp32: what differs is noise, and how much is stated here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainspade_cli.errors import WeightsError
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling import label_blocks
from brainspade_cli.sampling.manifest import rows
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.sample import SampleRequest, run_sampling
from brainspade_cli.weights import open_bundle
from tests.phantoms import save
from tests.sampling.parts import ellipse_label, quiet, style_scan, tiny_bundle

# Share of equal pixels in new labels; mean absolute difference of images in SDs of their brain, on one label and on
# labels that differ themselves. bf16 has 8 bits for a number.
EQUAL_LABELS = 0.97
IMAGE_DIFFERENCE = 0.05
NEW_IMAGE_DIFFERENCE = 0.10


def _run(folder: Path, precision: str, **changes: object) -> tuple[RawLayout, list[NDArray[np.float32]]]:
    """The dataset of a run of two pairs, and its images back in z-scores of the brain where both have brain."""
    settings = {"styles": ("@t2",), "pairs": 2, "plan": PairPlan(seed=3, tumour=True), "device": "cpu", **changes}
    request = SampleRequest(folder=folder / precision, precision=precision, **settings)  # type: ignore[arg-type]
    run_sampling(request, quiet())
    layout = RawLayout(request.folder, ".nii.gz")
    return layout, [read_plane(layout.image_path(row["case"], 0))[0].astype(np.float32) for row in _ordered(layout)]


def _ordered(layout: RawLayout) -> list[dict]:
    return sorted(rows(layout), key=lambda row: row["index"])


def _compare(folder: Path, **changes: object) -> tuple[float, float]:
    """Share of equal label pixels, and mean absolute difference of images in SDs of the brain, between precisions."""
    equal, apart = [], []
    (first, one), (second, other) = _run(folder, "fp32", **changes), _run(folder, "bf16", **changes)
    for row, a, b in zip(_ordered(first), one, other, strict=True):
        label, again = (read_plane(layout.label_path(row["case"]))[0] for layout in (first, second))
        equal.append((label == again).mean())
        brain = (label > 0) & (again > 0)
        apart.append(np.abs(a - b)[brain].mean() / a[brain].std())
    return float(np.mean(equal)), float(np.mean(apart))


def test_tiny_networks_paint_alike_in_both_precisions(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "weights")
    save(tmp_path / "labels" / "a.nii.gz", ellipse_label(tumour=True)[:, :, None], (1.0, 1.0, 1.0))
    style = (str(style_scan(tmp_path / "sub-1_T1w.nii.gz")),)
    equal, apart = _compare(
        tmp_path, weights=str(tmp_path / "weights"), styles=style, labels=tmp_path / "labels", plan=PairPlan(seed=3)
    )
    assert equal == 1
    assert 0 < apart < IMAGE_DIFFERENCE


def test_tiny_networks_draw_alike_labels_in_both_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ())
    tiny_bundle(tmp_path / "weights")
    plan = PairPlan(seed=3, tumour=True, steps=2)
    equal, _ = _compare(tmp_path, weights=str(tmp_path / "weights"), plan=plan)
    assert EQUAL_LABELS <= equal < 1


@pytest.mark.slow
def test_the_shipped_weights_make_alike_datasets_in_both_precisions(tmp_path: Path) -> None:
    try:
        bundle = open_bundle()
        bank = next(iter(bundle.config.style_bank), None)
    except WeightsError as error:
        pytest.skip(str(error))
    style = f"@{bank}" if bank else str(style_scan(tmp_path / "sub-1_T1w.nii.gz"))
    equal, apart = _compare(tmp_path, styles=(style,), pairs=4)
    print(f"labels equal in {equal:.4f} of all pixels, images {apart:.4f} SD apart")
    assert equal >= EQUAL_LABELS
    assert apart <= NEW_IMAGE_DIFFERENCE
