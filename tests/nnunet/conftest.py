"""Fixtures for the tests of everything that has to do with nnU-Net."""

from __future__ import annotations

import os

import pytest

from brainspade_cli.nnunet import check
from tests.nnunet.sets import Recorder
from tests.nnunet.verdict import verdict


@pytest.fixture
def reporter():
    return Recorder()


@pytest.fixture(autouse=True)
def _no_nnunet_variables(monkeypatch):
    """The machine's own nnU-Net folders are none of a test's business."""
    for name in [name for name in os.environ if name.startswith("nnUNet_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _own_check_only(request, monkeypatch):
    """nnU-Net's check in a process of its own takes 10 s; tests that want it ask for `nnunet_process`."""
    if "nnunet_process" not in request.fixturenames:
        monkeypatch.setattr(check, "nnunet_installed", lambda: False)


@pytest.fixture
def nnunet_process():
    """Let `check` start nnU-Net as it does for a user."""
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")


@pytest.fixture
def nnunet_verdict():
    """nnU-Net's own check of a folder, in this process: what it refuses the folder for, None where it does not."""
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")
    return verdict
