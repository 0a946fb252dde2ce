"""nnU-Net's trainer with a seed and a length that the plans file names, and without validation after the training.

Test volumes, which no training sees, take the place of nnU-Net's own validation.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

# In the plans file: {"experiment": {"seed": 0, "epochs": 10, "iterations": 60, "validation_iterations": 2,
# "bf16": true}}.
SETTINGS = "experiment"


def in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The network's `forward` in bfloat16 on a CPU; what it gives, a tensor or one a resolution, is float32."""

    def wrapped(images: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            found = forward(images)
        return found.float() if isinstance(found, torch.Tensor) else [each.float() for each in found]

    return wrapped


class ExperimentTrainer(nnUNetTrainer):
    """One training of one arm. nnU-Net reads the names of the parameters, so they cannot be *args."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        settings = plans[SETTINGS]
        self.num_epochs = settings["epochs"]
        self.num_iterations_per_epoch = settings["iterations"]
        self.num_val_iterations_per_epoch = settings["validation_iterations"]
        # A training that is cut off goes on from here.
        self.save_every = max(1, self.num_epochs // 20)
        self.seed = settings["seed"]
        # nnU-Net computes in half precision on a GPU alone.
        self.bf16 = settings["bf16"]

    def initialize(self) -> None:
        """Seed everything that nnU-Net draws from, then build the network as it does."""
        random.seed(self.seed)
        np.random.seed(self.seed)
        torch.manual_seed(self.seed)
        super().initialize()
        # nnU-Net takes every core, whatever OMP_NUM_THREADS says; two trainings side by side then stand in each other's
        # way, and take several times as long.
        if "OMP_NUM_THREADS" in os.environ:
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].split(",")[0]))
        if self.bf16:
            self.network.forward = in_bfloat16(self.network.forward)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: with every case in the training, there is nothing to validate on."""
