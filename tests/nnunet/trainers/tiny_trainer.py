"""nnU-Net's trainer, cut down to what a test can wait for: one epoch of a few steps."""

from __future__ import annotations

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class TinyTrainer(nnUNetTrainer):
    # nnU-Net reads the names of these parameters, so they cannot be *args.
    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 1
        self.num_iterations_per_epoch = 4
        self.num_val_iterations_per_epoch = 1
