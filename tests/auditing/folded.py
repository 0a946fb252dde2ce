"""People with folds of their own: what an audit tells people apart by, and the phantoms of the other tests lack."""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainspade_cli.anatomy import CHANNELS, CSF, GM, NAMES, WM
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.nnunet.raw import NIFTI, RawLayout, write_case, write_dataset_json
from brainspade_cli.slices import BACKGROUND_VALUE, ScanRecord, create_slice_set, write_record

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "audit_recall"))

SLICES = 6
BRIGHTNESS = np.array([0, 200, 500, 800] + [0] * (CHANNELS - 4), np.float32)


def label_of(person: int, number: float) -> np.ndarray:
    """One slice of a person, (192, 256); slices with neighbouring numbers are alike."""
    rng = np.random.default_rng(person)
    fields = [ndimage.gaussian_filter(rng.standard_normal(SLICE_SHAPE), 4.5) for _ in range(2)]
    field = np.cos(number / 4) * fields[0] + np.sin(number / 4) * fields[1]
    field /= field.std()
    x, y = np.indices(SLICE_SHAPE) - (np.array(SLICE_SHAPE) - 1)[:, None, None] / 2
    inside = np.hypot(x / rng.uniform(60, 66), y / rng.uniform(76, 84)) < 1
    label = np.select([field < -0.6, field < 0.5], [CSF, GM], WM)
    return np.where(inside, label, 0).astype(np.uint8)


def image_of(label: np.ndarray, seed: int) -> np.ndarray:
    """A noisy T1 of a label, int16, 0 outside the brain."""
    noise = np.random.default_rng(seed).normal(0, 30, label.shape)
    return np.where(label > 0, np.clip(BRIGHTNESS[label] + noise, 1, None), 0).astype(np.int16)


def folded_set(folder: Path, train=range(10), held_out=range(20, 23), modalities=("t1",)) -> Path:
    """A slice set of such people."""
    create_slice_set(folder)
    for person in (*train, *held_out):
        labels = np.stack([label_of(person, number) for number in range(SLICES)])
        images = {
            name: np.stack([image_of(label, 100 * person + k + 50 * place) for k, label in enumerate(labels)])
            for place, name in enumerate(modalities)
        }
        write_person(folder, f"{person:02d}", labels, images, held_out=person in held_out)
    return folder


def write_person(folder: Path, name: str, labels: np.ndarray, images, *, held_out: bool) -> None:
    """Add a person to a slice set: labels (slices, 192, 256), and images of the same shape by modality."""
    target = folder / "scans" / f"sub-{name}"
    target.mkdir(parents=True)
    np.save(target / "labels.npy", (255 * (labels[:, None] == np.arange(CHANNELS)[:, None, None])).astype(np.uint8))
    brain = labels > 0
    for modality, image in images.items():
        scored = (image - image[brain].mean()) / image[brain].std()
        np.save(target / f"{modality}.npy", np.where(brain, scored, BACKGROUND_VALUE).astype(np.float16))
    record = ScanRecord(
        name=target.name,
        subject=target.name,
        person=f"person-{name}",
        dataset="folded",
        split="held-out" if held_out else "train",
        population="healthy",
        modalities=tuple(images),
        has_labels=True,
        positions=tuple(float(number) for number in range(len(labels))),
        brain_pixels=tuple(int(part.sum()) for part in brain),
        tumour_pixels=(0,) * len(labels),
        lesion_load=(0.0,) * len(labels),
    )
    write_record(folder, record)


def folded_dataset(folder: Path, pairs, names=NAMES, channel="t1", run=None) -> Path:
    """A raw dataset of (label, image) pairs, cases case_0, case_1, ..."""
    layout = RawLayout(folder, NIFTI)
    layout.create()
    for number, (label, image) in enumerate(pairs):
        write_case(layout, f"case_{number}", image[None].astype(np.int16), label, z_mm=0.0)
    write_dataset_json(folder, {name: value for value, name in enumerate(names)}, (channel,), len(pairs), NIFTI)
    if run is not None:
        (layout.provenance / "run.json").write_text(json.dumps(run))
    return folder


def new_person(number: int):
    """A pair of somebody who is in no slice set."""
    label = label_of(50 + number, number % SLICES)
    return label, image_of(label, 5000 + number)


def hidden(label, image, name="all of these together", seed=0):
    """A pair under a disguise, label and image each under its own draw."""
    from disguises import DISGUISES, disguised_image, disguised_label, draw

    rng = np.random.default_rng(seed)
    first, second = (draw(DISGUISES[name], label.shape, rng) for _ in range(2))
    return disguised_label(label, first, rng), disguised_image(image.astype(np.float32), second, rng)
