"""Fixtures for the tests of `evaluate`: few pairs for the one figure that is slow, and phantom people."""

import pytest

from brainspade_cli.evaluating import diversity
from tests.evaluating.known_answers import gather, phantom_people


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
    return gather(phantom_people(range(10, 14), slices=5), "t1")
