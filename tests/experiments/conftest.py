"""The experiments are scripts beside the package: their folder goes on the path, as Python does for `run.py` itself."""

import sys
from pathlib import Path

import pytest

from tests.sampling.parts import tiny_bundle

FOLDER = Path(__file__).parents[2] / "examples" / "experiments"
sys.path.insert(0, str(FOLDER))


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """A bundle of random tiny networks."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    tiny_bundle(folder)
    return folder
