"""Small raw datasets for the tests, synthetic ones as `sample` leaves them and real ones as others make them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from brainspade_cli.anatomy import LESIONS, NAMES
from brainspade_cli.console import Reporter
from brainspade_cli.nnunet.raw import NIFTI, RawLayout, write_case, write_dataset_json
from tests.conftest import brain_maps

TABLE = {name: value for value, name in enumerate(NAMES)}
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Recorder(Reporter):
    """A reporter that keeps what it is told."""

    def __init__(self):
        super().__init__(quiet=True)
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.warned.append(text)


def phantom(seed, *, tumour=False, channels=1):
    """Images (channels, 192, 256) and label (192, 256) of one slice; a pixel's intensity tells its tissue."""
    generator = np.random.default_rng(seed)
    label = brain_maps(generator, 0.0, tumour=tumour).argmax(0).astype(np.uint8)
    noise = generator.integers(0, 40, (channels, *label.shape))
    images = np.where(label > 0, 100 * label + noise + 1000 * np.arange(channels)[:, None, None], 0)
    return images.astype(np.int16), label


def synthetic_set(
    folder: Path,
    cases: Sequence[str] = ("brainspade_000000", "brainspade_000001", "brainspade_000002"),
    *,
    channels: Sequence[str] = ("flair",),
    file_ending: str = NIFTI,
    tumours: bool = True,
    seed: int = 0,
    styles: Sequence[str] = ("style-a",),
    corners: bool = False,
) -> Path:
    """A dataset of `cases`, every second one with a tumour, painted in turn in each of `styles`.

    nnU-Net crops to what is not 0; with `corners` two corners are not, so that it keeps the whole slice.
    """
    layout = RawLayout(folder, file_ending)
    layout.create()
    rows = []
    for number, case in enumerate(cases):
        images, label = phantom(seed + number, tumour=tumours and number % 2 == 1, channels=len(channels))
        if corners:
            images[:, [0, -1], [0, -1]] = 1
        write_case(layout, case, images, label, z_mm=10.0 + number)
        style = styles[number % len(styles)]
        rows.append({"case": case, "index": number, "styles": [{"channel": channels[0], "sha256": style}], "files": []})
    (layout.provenance / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_dataset_json(folder, TABLE, tuple(channels), len(cases), file_ending)
    return folder


def real_set(
    folder: Path,
    cases: Sequence[str] = ("sub-01", "sub-02"),
    *,
    channels: Sequence[str] = ("FLAIR",),
    labels: dict | None = None,
    values: dict[int, int] | None = None,
    slices: int = 3,
    affine: np.ndarray = LPS,
    test_cases: Sequence[str] = (),
) -> Path:
    """A dataset of volumes (192, 256, slices); `values` exchanges the table's label values before they are written."""
    table = np.arange(256, dtype=np.uint8)
    for source, target in (values or {}).items():
        table[source] = target
    for part, names in (("Tr", cases), ("Ts", test_cases)):
        for place in ("images", "labels") if names else ():
            (folder / f"{place}{part}").mkdir(parents=True)
        for number, case in enumerate(names):
            planes = [phantom(100 * number + k, tumour=k % 2 == 1, channels=len(channels)) for k in range(slices)]
            for channel in range(len(channels)):
                volume = np.stack([images[channel] for images, _ in planes], axis=-1)
                nib.save(nib.Nifti1Image(volume, affine), folder / f"images{part}" / f"{case}_{channel:04d}.nii.gz")
            label = table[np.stack([label for _, label in planes], axis=-1)]
            nib.save(nib.Nifti1Image(label, affine), folder / f"labels{part}" / f"{case}.nii.gz")
    content = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": labels or TABLE,
        "numTraining": len(cases),
        "file_ending": NIFTI,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def change_json(folder: Path, **changes) -> None:
    """Change entries of dataset.json; None takes one out."""
    content = json.loads((folder / "dataset.json").read_text()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(content))


def has_tumour(label: np.ndarray) -> bool:
    return bool(np.isin(label, LESIONS).any())
