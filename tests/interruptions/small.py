"""The commands with what takes long made short: `python -m tests.interruptions.small ARGUMENTS`, as `brainspade`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from brainspade_cli.presets import Preset, preset

# An atlas of everybody, for the scenes have fewer people than one is made of.
FEWEST_PEOPLE = 2
# Where a process is to leave the atlas that it made.
ATLASES = "ATLASES"


def small_preset() -> Preset:
    """The tiny preset with every stage and every input that a network can have, and without a perceptual network."""
    tiny = preset("tiny")
    stages = replace(tiny.labels, perceptual_weight=0.0, autoencoder_steps=3, decoder_steps=2, denoiser_steps=3)
    return replace(tiny, denoiser=replace(tiny.denoiser, atlas=True), labels=stages)


def make_small(command: str) -> None:
    """Change what takes long and what random networks cannot do; nothing that has to do with files.

    Checkpoints come after every step, not every three minutes. Labels of random networks pass their checks. Scans are
    prepared onto a few levels.
    """
    from brainspade_cli import presets
    from brainspade_cli.sampling import label_blocks
    from brainspade_cli.training import atlas, denoiser, loop, run

    small = small_preset()
    change(presets, "preset", lambda name: small)
    change(run, "train", partial(loop.train, checkpoint_minutes=0.0))
    change(atlas, "FEWEST_PEOPLE", FEWEST_PEOPLE)
    change(label_blocks, "label_problems", lambda label, lesion: ())
    if ATLASES in os.environ:
        change(denoiser, "latent_atlas", _kept(atlas.latent_atlas, Path(os.environ[ATLASES])))
    if command == "prepare":
        for module in [module for name, module in sys.modules.items() if name.startswith("brainspade_cli.")]:
            if hasattr(module, "GRID_SHAPE"):
                change(module, "GRID_SHAPE", (192, 256, 12))
            if hasattr(module, "GRID_ORIGIN"):
                change(module, "GRID_ORIGIN", (-95.5, -145.5, 0.0))


def change(module: Any, name: str, value: Any) -> None:
    """Put another value in the place of one that is there."""
    assert hasattr(module, name)
    setattr(module, name, value)


def _kept(make: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """The same, and what it makes is left in a folder, under the number of the process."""

    def made(*arguments: Any) -> Any:
        found = make(*arguments)
        rank = os.environ.get("RANK", "0")
        np.save(folder / f"{rank}-{len(list(folder.glob(f'{rank}-*')))}.npy", found.numpy())
        return found

    return made


if __name__ == "__main__":
    from brainspade_cli import cli

    make_small(sys.argv[1])
    sys.argv[0] = "brainspade"
    cli.main()
