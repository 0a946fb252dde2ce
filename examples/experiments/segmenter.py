"""What a segmenter must do here; `unet` and `nnunet` do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.nnunet.dataset import RawCase


class Segmenter(Protocol):
    """Trains on a raw dataset and segments slices. Both may be interrupted and asked for again."""

    @property
    def key(self) -> str:
        """Name of its folder: what it is, and a digest of its settings."""
        ...

    def train(self, raw: Path, arm: Path, folder: Path, seed: int) -> None:
        """Train on the raw dataset `raw` until a network lies in `folder`; `arm` is shared by the arm's trainings."""
        ...

    def predict(
        self, raw: Path, arm: Path, folder: Path, cases: Sequence[RawCase]
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Give each case's name and label (X, Y), by the network that lies in `folder`."""
        ...
