"""Putting a dataset's card and its Croissant description beside its dataset.json, where nnU-Net lets them be."""

from __future__ import annotations

from pathlib import Path

from brainspade_cli.files import write_json, write_text
from brainspade_cli.reporting.card import dataset_card
from brainspade_cli.reporting.croissant import croissant
from brainspade_cli.reporting.facts import DatasetFacts

CARD_FILE = "README.md"
CROISSANT_FILE = "croissant.json"


def card_paths(folder: Path) -> tuple[Path, Path]:
    """Where the card and the Croissant description of a dataset lie."""
    return folder / CARD_FILE, folder / CROISSANT_FILE


def write_cards(folder: Path, facts: DatasetFacts) -> None:
    """Write README.md and croissant.json, each in one step. Facts of the same dataset give the same files."""
    card, description = card_paths(folder)
    write_text(card, dataset_card(facts))
    write_json(description, croissant(facts))
