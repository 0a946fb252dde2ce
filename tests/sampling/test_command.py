from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from brainspade_cli import cli
from brainspade_cli.sampling import sample as sampling
from brainspade_cli.sampling.command import MOST_STYLES, sample_command
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.run import SampleRequest
from tests.conftest import CommandLine

PLAN = PairPlan(seed=3, tumour=True, tumour_fraction=0.25, sampler="ddim", steps=80, guidance=1.5, faint_fraction=0.2)


def command(**changes: object) -> str:
    known = {"weights": None, "labels": False, "file_format": "nifti", "save_pv": False, "precision": "fp32"}
    styles = changes.pop("styles", [("t1", "my scan.nii.gz"), ("flair", "@flair")])
    return sample_command(styles, 40, changes.pop("plan", PLAN), **{**known, **changes})


def test_the_command_line_reads_the_command_back_as_it_was_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[SampleRequest] = []

    def catch(request: SampleRequest, reporter: object) -> None:
        asked.append(request)
        raise SystemExit(0)

    monkeypatch.setattr(sampling, "run_sampling", catch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my scan.nii.gz").touch()
    text = command(weights=("org/name", "abc"), file_format="png", save_pv=True)
    CliRunner().invoke(cli.app, shlex.split(text)[1:])
    request = asked[0]
    assert request.styles == ("t1=my scan.nii.gz", "@flair")
    assert (request.plan, request.pairs) == (PLAN, 40)
    assert (request.weights, request.revision, request.file_format) == ("org/name", "abc", "png")
    assert (request.save_pv, request.precision) == (True, "fp32")


@given(fraction=st.floats(0, 1), faint=st.floats(0, 1), guidance=st.floats(0, 20).filter(lambda value: value != 1))
def test_numbers_are_said_to_the_last_bit(fraction: float, faint: float, guidance: float) -> None:
    plan = replace(PLAN, tumour_fraction=fraction, faint_fraction=faint, guidance=guidance)
    words = shlex.split(command(plan=plan))
    assert float(words[words.index("--tumour-fraction") + 1]) == fraction
    assert float(words[words.index("--faint-fraction") + 1]) == faint
    assert float(words[words.index("--guidance") + 1]) == guidance


def test_what_has_no_effect_is_not_said() -> None:
    assert "--tumour" not in command(plan=PairPlan())
    painted = command(labels=True, plan=PairPlan())
    assert "--labels LABELS" in painted
    assert "--sampler" not in painted


def test_a_thousand_scans_are_not_listed() -> None:
    many = [("t1", f"{number}.nii.gz") for number in range(MOST_STYLES + 1)]
    assert "--style SCANS --n 40" in command(styles=many)


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["--tumour-fraction", "0.5"], "--tumour"),
        (["--faint-fraction", "0.5"], "--tumour or --labels"),
        (["--labels", "mine", "--sampler", "unipc"], "--labels left out"),
        (["--labels", "mine", "--steps", "4"], "--labels left out"),
        (["--labels", "mine", "--guidance", "1"], "--labels left out"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(command_line: CommandLine, words: list[str], needed: str) -> None:
    code, out, error = command_line("sample", "--style", "@flair", *words)
    assert (code, out) == (2, "")
    assert error.strip().endswith(f"needs {needed}.")


def test_an_option_in_the_environment_may_stand_for_all_runs(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINSPADE_TUMOUR_FRACTION", "0.75")
    _, _, error = command_line("sample", "--style", "nowhere.nii.gz")
    assert "There is no style scan nowhere.nii.gz" in error
