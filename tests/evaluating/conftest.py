"""Fixtures for the tests of `evaluate`: few pairs for the one figure that is slow, and phantom people."""

import sys
from pathlib import Path

import pytest

from brainspade_cli.evaluating import diversity
from tests.evaluating.phantom_people import phantom_people

# The sets of known answers stand beside the package, with the script that prints their table.
sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "known_answers"))


@pytest.fixture(scope="session", autouse=True)
def _few_pairs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "PAIRS", 3)
        yield


@pytest.fixture(scope="session")
def made_people():
    """Slices of four phantom people."""
    return phantom_people(range(4), slices=5)


@pytest.fixture(scope="session")
def real_people():
    """Slices of four other phantom people, gathered."""
    from known_sets import gather

    return gather(phantom_people(range(10, 14), slices=5), "t1")
