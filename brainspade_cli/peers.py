"""The processes of one training, as torchrun starts and numbers them."""

from __future__ import annotations

import os
import sys

TRAININGS = ("train-labels", "train-images")


def trains_with_others() -> bool:
    """Whether this is one of several processes of a training."""
    return any(command in sys.argv[1:2] for command in TRAININGS) and os.environ.get("WORLD_SIZE", "1") != "1"


def is_peer() -> bool:
    """Whether this process leaves the speaking to the main one of its training."""
    return trains_with_others() and os.environ.get("RANK", "0") != "0"
