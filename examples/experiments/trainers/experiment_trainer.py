"""nnU-Net's trainer with a seed and a length that the plans file names, and without validation after the training.

Test volumes, which no training sees, take the place of nnU-Net's own validation.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

# In the plans file: {"experiment": {"seed": 0, "epochs": 10, "iterations": 60, "validation_iterations": 2}}.
SETTINGS = "experiment"


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

    def initialize(self) -> None:
        """Seed everything that nnU-Net draws from, then build the network as it does."""
        random.seed(self.seed)
        np.random.seed(self.seed)
        torch.manual_seed(self.seed)
        super().initialize()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: with every case in the training, there is nothing to validate on."""
