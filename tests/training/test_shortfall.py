"""How much of a lesion a denoiser leaves out, measured and put into the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brainspade_cli.anatomy import BACKGROUND, LESIONS, OEDEMA
from brainspade_cli.bundle_config import ConditionTable
from brainspade_cli.devices import Compute
from brainspade_cli.sampling.label_blocks import GeneratedLabels
from brainspade_cli.training.shortfall import lesion_shortfall
from brainspade_cli.weights import Bundle
from tests.sampling.parts import ellipse_label, one_hot_maps, tiny_bundle

CPU = Compute(torch.device("cpu"), "fp32")
# Every label is asked for this load of a lesion.
ASKED = 0.1


def drawing(label: np.ndarray, monkeypatch: pytest.MonkeyPatch, folder: Path, known: float = 0.0) -> Bundle:
    """Weights that draw one label whatever they are told, and already know of a shortfall."""

    class Fixed:
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(one_hot_maps(label)[None].astype(np.float32)) / 16

    def opened(self: GeneratedLabels, *arguments: object) -> None:
        begun(self, *arguments)  # type: ignore[arg-type]
        self.autoencoder = Fixed()  # type: ignore[assignment]

    begun = GeneratedLabels.__init__
    monkeypatch.setattr(GeneratedLabels, "__init__", opened)
    bundle = tiny_bundle(folder)
    table = ConditionTable((0.3, 0.7), (ASKED, ASKED + 1e-9), ((1.0, 1.0),), lesion_shortfall=known)
    return replace(bundle, config=replace(bundle.config, conditions={"tumour": table}))


def measured(bundle: Bundle, count: int = 8) -> float:
    return lesion_shortfall(bundle, count=count, seed=0, compute=CPU)


@pytest.mark.parametrize("known", [0.0, 0.3])
def test_what_is_asked_for_less_what_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: float) -> None:
    label = ellipse_label(tumour=True)
    drawn = np.isin(label, LESIONS).sum() / (label != BACKGROUND).sum()
    assert measured(drawing(label, monkeypatch, tmp_path, known)) == pytest.approx(ASKED - drawn)


def test_lesions_larger_than_asked_for_fall_short_by_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    label = ellipse_label(tumour=True)
    label[80:130, 60:140] = OEDEMA
    assert measured(drawing(label, monkeypatch, tmp_path)) == 0


def test_labels_without_a_brain_say_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert measured(drawing(np.zeros_like(ellipse_label()), monkeypatch, tmp_path)) == 0
