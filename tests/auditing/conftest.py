"""Slice sets of folded people, made once, and the command line."""

import json

import pytest

from tests.auditing.folded import folded_set


@pytest.fixture(scope="session")
def folded_folder(tmp_path_factory):
    """Ten training people and three held-out ones, six slices each."""
    return folded_set(tmp_path_factory.mktemp("folded") / "slices")


@pytest.fixture
def run(command_line):
    """Run `brainspade ARGUMENTS` in this process; returns exit code, stdout, stderr."""
    return command_line


@pytest.fixture
def report(run):
    """Run `brainspade audit ARGUMENTS --json`; returns exit code and report."""

    def call(*arguments):
        code, out, _ = run("audit", *arguments, "--json", "--quiet")
        return code, json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return call
