"""What a copyist could do to a slice so that it no longer looks like the one it was copied from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainspade_cli.anatomy import CSF, WM


@dataclass(frozen=True)
class Disguise:
    """How far a copy may be changed; what is drawn for each lies between nothing and this.

    mirror: "", "left-right" or "front-back", for one slice in two. shift: pixels along either axis. rotation: degrees.
    stretch: share of the size. bend: pixels, root mean square, of a smooth random displacement. contrast: of a power
    curve, in units of its logarithm, with any scale and offset. noise: standard deviation in that of the brain, and for
    labels half as large a share of pixels that get another tissue.
    """

    mirror: str = ""
    shift: float = 0.0
    rotation: float = 0.0
    stretch: float = 0.0
    bend: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0


_ALL = Disguise(mirror="left-right", shift=8, rotation=10, contrast=0.7, noise=0.1)
DISGUISES: Mapping[str, Disguise] = {
    "as it is": Disguise(),
    "mirrored left-right": Disguise(mirror="left-right"),
    "mirrored front-back": Disguise(mirror="front-back"),
    "shifted up to 8 px": Disguise(shift=8),
    "rotated up to 10 degrees": Disguise(rotation=10),
    "contrast changed": Disguise(contrast=0.7),
    "noise added": Disguise(noise=0.1),
    "all of these together": _ALL,
    "all, and sizes off by up to 8 %": replace(_ALL, stretch=0.08),
    "all, and bent by 1 px": replace(_ALL, bend=1.0),
    "all, and bent by 2 px": replace(_ALL, bend=2.0),
    "all, and bent by 4 px": replace(_ALL, bend=4.0),
}
# Beyond these, no disguise is promised to be seen through.
PROMISED = "all of these together"
# Bends have about this standard deviation along the slice, in pixels.
_BEND_LENGTH = 20.0


@dataclass(frozen=True)
class Drawn:
    """One draw of a disguise: where each pixel of the copy is read, (2, X, Y), and what happens to its brightness."""

    places: NDArray[np.float64]
    power: float
    scale: float
    offset: float
    noise: float


def draw(disguise: Disguise, shape: tuple[int, int], rng: np.random.Generator) -> Drawn:
    """Draw one for a slice of a shape."""
    angle = np.deg2rad(rng.uniform(-1, 1) * disguise.rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn * np.exp(rng.uniform(-1, 1) * np.log1p(disguise.stretch))
    if disguise.mirror and rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0] if disguise.mirror == "left-right" else [1.0, -1.0])
    centre = (np.array(shape) - 1)[:, None, None] / 2
    shift = rng.uniform(-1, 1, (2, 1, 1)) * disguise.shift
    places = np.indices(shape) - centre - shift
    if disguise.bend:
        bends = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), _BEND_LENGTH) for _ in range(2)])
        places = places + bends * disguise.bend / bends.std()
    changed = disguise.contrast > 0
    return Drawn(
        places=np.einsum("ij,jxy->ixy", turn, places) + centre,
        power=float(np.exp(rng.uniform(-1, 1) * disguise.contrast)),
        scale=float(rng.uniform(50, 500)) if changed else 400.0,
        offset=float(rng.uniform(0, 50)) if changed else 0.0,
        noise=float(rng.uniform(0.5, 1) * disguise.noise),
    )


def disguised_label(label: NDArray[np.uint8], drawn: Drawn, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A label (X, Y) under a disguise."""
    moved = ndimage.map_coordinates(label, drawn.places, order=0, mode="constant", cval=0)
    changed = (rng.random(moved.shape) < drawn.noise / 2) & (moved > 0)
    return np.where(changed, rng.integers(CSF, WM + 1, moved.shape), moved).astype(np.uint8)


def disguised_image(image: NDArray[np.floating], drawn: Drawn, rng: np.random.Generator) -> NDArray[np.float32]:
    """An image (X, Y), lowest outside the brain, under a disguise; 0 outside the brain."""
    outside = image.min()
    inside = ndimage.map_coordinates((image > outside).astype(np.float32), drawn.places, order=1) > 0.5
    filled = np.where(image > outside, image, image[image > outside].min())
    moved = ndimage.map_coordinates(filled, drawn.places, order=1, mode="nearest")
    low, high = moved[inside].min(), moved[inside].max()
    curved = ((moved - low) / (high - low)).clip(0, 1) ** drawn.power
    noisy = curved + drawn.noise * curved[inside].std() * rng.standard_normal(curved.shape)
    return np.where(inside, 1 + drawn.offset + drawn.scale * noisy.clip(0), 0).astype(np.float32)
