"""nnU-Net's own integrity check, run in this process, its process pools exchanged for threads: a second, not ten."""

from __future__ import annotations

from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from unittest import mock


def verdict(folder: Path) -> str | None:
    """What nnU-Net refuses the dataset for; None where it accepts it."""
    from nnunetv2.experiment_planning import verify_dataset_integrity as module
    from nnunetv2.utilities import utils

    threads = SimpleNamespace(get_context=lambda method: SimpleNamespace(Pool=lambda workers: ThreadPool(1)))
    with (
        mock.patch.object(module, "multiprocessing", threads),
        mock.patch.object(utils, "Pool", return_value=ThreadPool(1)),
    ):
        try:
            module.verify_dataset_integrity(str(folder), 1)
        except Exception as error:
            return repr(error)
    return None
