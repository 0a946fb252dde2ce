"""The processes of one training, as torchrun starts and numbers them."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

TRAININGS = ("train-labels", "train-images")


def trains_with_others() -> bool:
    """Whether this is one of several processes of a training."""
    return any(command in sys.argv[1:2] for command in TRAININGS) and os.environ.get("WORLD_SIZE", "1") != "1"


def is_peer() -> bool:
    """Whether this process leaves the speaking to the main one of its training."""
    return trains_with_others() and os.environ.get("RANK", "0") != "0"


def leave(code: int | str | None) -> NoReturn:
    """End as `sys.exit` does; one of several processes of a training at once, without what Python does at its end.

    What is shared can wait for the others while it is taken down. And some threads of torch's now and then abort a
    process that has done all it had to do, for which torchrun calls the whole training failed. All files of a training
    are closed by then; what is registered to run at exit does not.
    """
    if trains_with_others() and not isinstance(code, str):
        sys.stdout.flush()
        os._exit(code or 0)
    sys.exit(code)
