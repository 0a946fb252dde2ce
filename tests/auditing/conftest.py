"""Slice sets of folded people, made once, and the command line."""

import json
import sys

import pytest

from brainspade_cli import cli
from tests.auditing.folded import folded_set


@pytest.fixture(scope="session")
def folded_folder(tmp_path_factory):
    """Ten training people and three held-out ones, six slices each."""
    return folded_set(tmp_path_factory.mktemp("folded") / "slices")


@pytest.fixture
def run(monkeypatch, capfd):
    """Run `brainspade ARGUMENTS` in this process; returns exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["brainspade", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def report(run):
    """Run `brainspade audit ARGUMENTS --json`; returns exit code and report."""

    def call(*arguments):
        code, out, _ = run("audit", *arguments, "--json", "--quiet")
        return code, json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return call
