"""`brainspade weights`: look at, fetch and publish weights. As in cli.py, nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brainspade_cli.cli_options import HELP, Json, Offline, Out, Quiet, Revision, Seed, SliceFolder, Weights
from brainspade_cli.console import Reporter

weights_app = typer.Typer(
    no_args_is_help=True,
    context_settings=HELP,
    help="Look at, fetch and publish weights.\n\nExample:  [bold]brainspade weights info[/bold]",
)


@weights_app.command("info")
def weights_info(
    weights: Weights = None, revision: Revision = None, offline: Offline = False, as_json: Json = False
) -> None:
    """Say what a bundle holds: networks, training people, terms.

    Example:  [bold]brainspade weights info --weights my-weights/[/bold]
    """
    from brainspade_cli.bundle_info import bundle_info
    from brainspade_cli.weights import open_bundle

    info = bundle_info(open_bundle(weights, revision, offline))
    Reporter(as_json=as_json).result(_table(info), info)


@weights_app.command("download")
def weights_download(
    name: Annotated[str, typer.Argument(help="Hub name, org/name.")],
    revision: Revision = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Fetch a bundle from the Hub into its cache and check every file, for use without a network.

    Example:  [bold]brainspade weights download org/name --revision v1[/bold]
    """
    from brainspade_cli.hub import download

    bundle = download(name, revision, offline)
    data = {"weights": name, "revision": bundle.revision, "folder": str(bundle.folder), "sha256": bundle.hashes()}
    Reporter(as_json=as_json).result(
        f"{name} at {bundle.revision} is in {bundle.folder}. Next:\n"
        f"brainspade sample --style flair.nii.gz --n 200 --weights {name} --revision {bundle.revision} --offline", data
    )  # fmt: skip


@weights_app.command("push")
def weights_push(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    name: Annotated[str, typer.Argument(help="Hub name, org/name.")],
    private: Annotated[bool, typer.Option(help="Make the repository private where it does not exist yet.")] = True,
    message: Annotated[str, typer.Option(help="Commit message.")] = "Upload brainspade weights",
    as_json: Json = False,
) -> None:
    """Publish a bundle on the Hub (needs HF_TOKEN or a login).

    Example:  [bold]brainspade weights push my-weights/ org/name[/bold]
    """
    from brainspade_cli.hub import push

    commit = push(folder, name, private=private, message=message)
    Reporter(as_json=as_json).result(f"Pushed to {commit}", {"weights": name, "commit": commit})


@weights_app.command("codes")
def weights_codes(
    slices: SliceFolder,
    out: Out,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Put codes of the training slices into a bundle: `brainspade audit` can then do without the slice set.

    A code is 128 signs, which do not give the slice back; but whoever has a slice of a person can then tell whether
    the person was trained on. Ten training people at least are asked for. Do it last: a training that goes on takes
    the codes out again.

    Example:  [bold]brainspade weights codes slices/ --out my-weights/[/bold]
    """
    from brainspade_cli.auditing.weights_codes import add_training_codes

    reporter = Reporter(quiet=quiet, as_json=as_json)
    summary = add_training_codes(out, slices, reporter, seed)
    people = summary["people"]
    counts = ", ".join(
        f"{count} of {kind} of {people['coded'][kind]} people" for kind, count in summary["codes"].items()
    )
    reporter.result(
        f"{out}, trained on {people['trained_on']} people, carries codes: {counts} "
        f"({summary['bytes'] / 1000:.0f} kB). Next:\n"
        f"brainspade audit DATASET --weights {out}",
        summary,
    )


@weights_app.command("list")
def weights_list(as_json: Json = False) -> None:
    """List the bundles at hand: the installed one and those in the Hub's cache.

    Example:  [bold]brainspade weights list[/bold]
    """
    from brainspade_cli.hub import list_weights

    rows = [
        {"name": bundle.config.name, "source": bundle.source, "revision": bundle.revision} for bundle in list_weights()
    ]
    lines = [f"{row['name']}  {row['source']}  {row['revision'] or ''}".rstrip() for row in rows]
    Reporter(as_json=as_json).result("\n".join(lines) or "No weights at hand.", {"weights": rows})


def _table(info: dict[str, Any]) -> str:
    """A line a key; what has names of its own goes below it, a line each."""
    width = max(len(key) for key in info)
    lines = []
    for key, value in info.items():
        inner = {name: _shown(one) for name, one in value.items()} if isinstance(value, dict) else {"": _shown(value)}
        longest = max(map(len, inner), default=0)
        shown = [f"{name:<{longest}}  {text}".lstrip() for name, text in inner.items()] or ["none"]
        lines += [f"{key:<{width}}  {shown[0]}", *(f"{'':<{width}}  {one}" for one in shown[1:])]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "none" if value is None else str(value)
