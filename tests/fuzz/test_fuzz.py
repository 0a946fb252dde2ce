"""Hostile inputs at every entry point: a few hundred each time, thousands with `-m slow`.

`python -m tests.fuzz.campaign N --seed K` runs any number, and prints the counts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz.campaign import SHARES
from tests.fuzz.harness import GOOD, attack
from tests.fuzz.material import Material
from tests.fuzz.targets import targets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and /proc")

# What runs each time: whole runs (prepare, folder, run_folder) cost seconds each, and stay for the slow one.
QUICK = {
    "style": 12,
    "labels": 25,
    "table": 120,
    "weights": 20,
    "used_weights": 15,
    "drawn_labels": 25,
    "dataset_json": 40,
    "dataset_files": 25,
    "task": 60,
    "slices": 40,
    "preview": 30,
    "codes": 12,
}
SLOW_CASES = 10_000


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.mark.parametrize("name", QUICK)
def test_hostile_input_is_refused_in_one_sentence_or_used(material: Material, tmp_path: Path, name: str) -> None:
    _survives(material, tmp_path, name, QUICK[name], seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_thousands_of_hostile_inputs_are_refused_in_one_sentence_or_used(
    material: Material, tmp_path: Path, name: str
) -> None:
    _survives(material, tmp_path, name, SLOW_CASES * SHARES[name] // 100, seed=1)


def _survives(material: Material, folder: Path, name: str, cases: int, seed: int) -> None:
    target = next(target for target in targets(material) if target.name == name)
    result = attack(target, range(cases), seed, folder / "work")
    assert not result.defects, "\n".join(result.defects)
    assert sum(result.outcomes.values()) == cases
    # Mutations that spoil nothing, or everything, would test nothing.
    assert set(result.outcomes) == GOOD
