"""The bank of styles that ships with a bundle: codes of training slices, by modality, so that no scan is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from brainspade_cli.bundle_config import StyleBankEntry
from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.training.batches import ImageTable
from brainspade_cli.training.machine import Machine

CODES = 64
ENCODED_TOGETHER = 8
# Scan units are arbitrary; these give the bundle's background value, a z-score of -4, the intensity 0.
INTENSITY_MEAN = 400.0
INTENSITY_STD = 100.0


@torch.no_grad()
def make_style_bank(
    machine: Machine, encoder: StyleEncoder, table: ImageTable
) -> tuple[dict[str, Tensor], dict[str, StyleBankEntry]]:
    """Means and log-variances (K, style_dim) of up to 64 training slices a modality, and their intensities.

    Only codes are stored, never an image: style_dim numbers for a slice.
    """
    tensors: dict[str, Tensor] = {}
    entries: dict[str, StyleBankEntry] = {}
    for number, modality in enumerate(table.modalities):
        means, log_variances = [], []
        for rows in _spread(table, number).split(ENCODED_TOGETHER):
            with machine.autocast():
                mean, log_variance = encoder(table.read(rows).to(machine.device))
            means.append(mean.float().cpu())
            log_variances.append(log_variance.float().cpu())
        tensors[f"{modality}.mean"] = torch.cat(means)
        tensors[f"{modality}.log_variance"] = torch.cat(log_variances)
        entries[modality] = StyleBankEntry(INTENSITY_MEAN, INTENSITY_STD)
    return tensors, entries


def _spread(table: ImageTable, modality: int) -> Tensor:
    """Rows of a modality: every person in turn, each with slices evenly spread over the middle half of a scan."""
    by_person: dict[str, list[int]] = {}
    for volume in torch.nonzero(table.classes[:, 0] == modality).flatten().tolist():
        by_person.setdefault(table.records[volume].person, []).append(volume)
    each = -(-CODES // len(by_person))
    first_row = {int(volume): row for row, volume in reversed(list(enumerate(table.volumes)))}
    picked: list[list[int]] = []
    for volumes in by_person.values():
        rows: list[int] = []
        for turn in range(each):
            volume = volumes[turn % len(volumes)]
            place = 0.25 + 0.5 * (turn + 0.5) / each
            rows.append(first_row[volume] + int(place * table.records[volume].slices))
        picked.append(list(dict.fromkeys(rows)))
    in_turn = [rows[turn] for turn in range(each) for rows in picked if turn < len(rows)]
    return torch.tensor(in_turn[:CODES])
