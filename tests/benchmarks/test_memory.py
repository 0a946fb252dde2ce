"""What the benchmark makes of the memory that trainings take."""

from __future__ import annotations

import sys

import pytest
from memory import Peak, measure, table

from brainspade_cli.presets import preset


def test_what_does_not_fit_goes_in_halves() -> None:
    peaks = [Peak("painter", 1, 2_000_000, 3_000_000_000), Peak("painter", 3, 2_000_000, 5_000_000_000)]
    # Two gigabytes for itself and one an example: the paper's six do not fit in 7 GB, three do.
    assert table(peaks, preset("paper"), 7)[-1] == "| painter | 2.0 M | 2.00 | 1.000 | 6 | 3 |"
    assert table(peaks, preset("paper"), 8)[-1].endswith("| 6 | 6 |")
    assert table(peaks, preset("paper"), 2.5)[-1].endswith("| 6 | none |")


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc, which Linux alone has")
@pytest.mark.slow
def test_every_stage_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainspade_cli.training.labels.denoiser_solver", None)  # not called: no sampler is fitted
    labels, images = measure("tiny", "labels", 1), measure("tiny", "images", 1)
    assert [peak.stage for peak in labels] == ["autoencoder", "denoiser-healthy"]
    assert [peak.stage for peak in images] == ["classifier", "painter"]
    assert all(peak.parameters > 0 for peak in (*labels, *images))
    more = measure("tiny", "images", 12)
    # Discriminators hold their features of twelve images in place of one.
    assert more[-1].peak > images[-1].peak + 100_000_000
