"""Codes of the training slices in a weights bundle: put in by whoever trained it, read for an audit without slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainspade_cli.auditing.codes import CodeJudge, code_judges, make_codes
from brainspade_cli.auditing.cuts import RealSlices
from brainspade_cli.bundle import Bundle, open_folder
from brainspade_cli.bundle_config import TRAINING_CODES
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, WeightsError
from brainspade_cli.files import disk_errors
from brainspade_cli.slices import open_slice_set


def add_training_codes(weights: Path, slices: Path, reporter: Reporter, seed: int = 0) -> dict[str, Any]:
    """Put codes of a slice set's training people into a bundle; says how many slices of each kind, as JSON data.

    Weights that were trained further know people of several slice sets: those of one of them may be coded alone, which
    an audit then says. Raises InputError for a slice set of people that the bundle was not trained on, or that holds
    some of those out, and its kin.
    """
    known = set(open_folder(weights).config.people.train)
    opened = open_slice_set(slices)
    people = set(opened.people("train"))
    strange = sorted(people - known)
    if strange or not people:
        raise InputError(
            f"{slices} trains on {len(people)} people, of whom {weights} was not trained on {len(strange)} "
            f"({', '.join(strange[:3])}); name the slice set of the training."
        )
    seen = sorted(set(opened.people("held-out")) & known)
    if seen:
        raise InputError(
            f"{slices} holds out {', '.join(seen[:3])}, on whom {weights} was trained; name the slice set of the "
            "training."
        )
    tensors = make_codes(RealSlices(opened), seed, reporter)
    with disk_errors(weights):
        bundle = create_or_update_bundle(weights, config_updates={}, networks={TRAINING_CODES: tensors})
    counts = {key.partition(".")[0]: len(part) for key, part in tensors.items() if key.endswith(".codes")}
    size = (bundle.folder / f"{TRAINING_CODES}.safetensors").stat().st_size
    coded = {key.partition(".")[0]: int(part[0]) for key, part in tensors.items() if key.endswith(".people")}
    return {
        "weights": str(weights),
        "codes": counts,
        "people": {"coded": coded, "trained_on": len(known)},
        "bytes": size,
    }


def weights_judges(bundle: Bundle, kinds: Sequence[str]) -> dict[str, CodeJudge]:
    """Judges of what a bundle carries codes for; raises WeightsError where it carries none for any of the kinds."""
    if not bundle.has(TRAINING_CODES):
        raise WeightsError(
            f"The weights {bundle.source} carry no codes of their training slices; give the slice set that they were "
            "trained on with --against, or add codes with `brainspade weights codes SLICES --out WEIGHTS`."
        )
    path = bundle.folder / f"{TRAINING_CODES}.safetensors"
    judges = code_judges(bundle.tensors(TRAINING_CODES), kinds, path)
    if not judges:
        raise WeightsError(f"{path} has no codes of {' or '.join(kinds)}; give the slice set with --against.")
    return judges
