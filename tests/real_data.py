"""Where the real scans lie, for the tests that need them; they are never part of the repository."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("BRAINSPADE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def scan(name: str) -> Path:
    """Path of a scan below the data folder; skips the test where it is absent."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{path} is absent; set BRAINSPADE_TEST_DATA to a folder with the scans")
    return path
