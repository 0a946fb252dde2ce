"""Options that several commands share, each spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainspade_cli.errors import InputError

HELP = {"help_option_names": ["-h", "--help"]}

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages and no progress; warnings stay.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Seed = Annotated[
    int, typer.Option(envvar="BRAINSPADE_SEED", metavar="K", min=0, help="All randomness follows from it.")
]
Device = Annotated[str, typer.Option(envvar="BRAINSPADE_DEVICE", metavar="NAME", help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(envvar="BRAINSPADE_PRECISION", metavar="NAME", help="auto, fp32 or bf16.")]
Weights = Annotated[
    str | None,
    typer.Option(
        envvar="BRAINSPADE_WEIGHTS", help="Weights: a folder or a Hub name (org/name). Default: those installed."
    ),
]


def was_typed(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line; a variable may stand for all runs."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_idle(context: typer.Context, name: str, needed: str) -> None:
    """Raise InputError for an option that was typed and would do nothing."""
    if was_typed(context, name):
        raise InputError(f"--{name.replace('_', '-')} would do nothing here: it needs {needed}.")


def _revision(context: typer.Context, revision: str | None) -> str | None:
    """None where a variable holds the revision and the weights that were typed are a folder, which has none."""
    if was_typed(context, "weights") and not was_typed(context, "revision"):
        folder = Path(context.params["weights"]).expanduser()
        return None if folder.is_dir() else revision
    return revision


Revision = Annotated[
    str | None,
    typer.Option(envvar="BRAINSPADE_REVISION", help="Commit, tag or branch on the Hub.", callback=_revision),
]
Offline = Annotated[bool, typer.Option("--offline", envvar="BRAINSPADE_OFFLINE", help="Use nothing but the cache.")]
SliceFolder = Annotated[Path, typer.Argument(help="A slice set made by `brainspade prepare`.")]
Out = Annotated[Path, typer.Option(help="Folder of the weights bundle to make or to go on with.")]
PresetName = Annotated[str, typer.Option(envvar="BRAINSPADE_PRESET", help="tiny, starter, starter-gpu or paper.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")]
StartFrom = Annotated[
    str | None,
    typer.Option(help="Weights to train further: a folder, a Hub name, or default (those installed)."),
]
