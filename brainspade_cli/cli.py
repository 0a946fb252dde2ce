"""The command line: each command, here gathered, parses, calls one function and prints one result.

Nothing heavy is imported: `--help` answers at once, and each command imports what it needs in its own body.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import time
from itertools import takewhile
from typing import Annotated

import typer

from brainspade_cli import __version__
from brainspade_cli.cli_look import audit, evaluate, preview
from brainspade_cli.cli_options import HELP
from brainspade_cli.cli_sample import export_nnunet, sample
from brainspade_cli.cli_train import prepare, train_images, train_labels
from brainspade_cli.cli_weights import weights_app
from brainspade_cli.errors import BrainspadeError, PeerError, want_of_memory
from brainspade_cli.peers import TRAININGS, is_peer, leave
from brainspade_cli.stopping import TERMINATED, sigterm_interrupts

INTERRUPTED = 130
# A training's main process and its peers often fail of one cause; torchrun ends the peers while they hold theirs back.
PEER_SECONDS = 10.0
KEPT = "what is finished is kept, and the same command goes on from where it was"
KEPT_OF = {
    **dict.fromkeys(TRAININGS, "the last checkpoint is kept, and the same command goes on from it with --resume"),
    **dict.fromkeys(("evaluate", "audit", "preview", "weights"), "nothing is lost, and the same command starts over"),
}

app = typer.Typer(
    name="brainspade",
    no_args_is_help=True,
    context_settings={**HELP, "auto_envvar_prefix": "BRAINSPADE"},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Labelled synthetic brain MRI in the contrast of a scan that you hand over.\n\n"
    "Example:  [bold]brainspade sample --style flair.nii.gz --n 20000 --tumour[/bold]",
)
app.add_typer(weights_app, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"brainspade {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            # Containers have variables such as BRAINSPADE_VERSION for purposes of their own.
            allow_from_autoenv=False,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    pass


app.command()(prepare)
app.command()(train_labels)
app.command()(train_images)
app.command()(sample)
app.command()(export_nnunet)
app.command()(evaluate)
app.command()(preview)
app.command()(audit)


def main() -> None:
    """Run the command line; the one place where exceptions become exit codes."""
    # torch's OpenMP threads spin while they wait; beside any other process that costs more than the work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # nibabel logs what it thinks of a damaged header; our sentence says it once.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        sys.stderr.write(text)
        sys.stderr.flush()

    with sigterm_interrupts(lambda: "" if said or is_peer() else _stopped(TERMINATED)) as terminated:
        try:
            # Not standalone: typer would draw a box around what was mistyped, under two lines of usage.
            sys.exit(app(standalone_mode=False))
        except SystemExit as ended:
            # typer makes an exit of Ctrl-C by itself, without a word.
            code = TERMINATED if terminated and ended.code == INTERRUPTED else ended.code
            if code in (INTERRUPTED, TERMINATED) and not is_peer():
                say(_stopped(code))
            leave(code)
        except KeyboardInterrupt:  # while typer itself was at work
            code = TERMINATED if terminated else INTERRUPTED
            say(_stopped(code))
            leave(code)
        except typer.TyperException as error:
            say("" if is_peer() else _mistyped(error))
            leave(error.exit_code)
        except typer.Abort as error:  # what typer makes of an EOFError
            say(f"error: a file ends too early ({error.__cause__}); make or fetch it again.\n")
            leave(1)
        except BrainspadeError as error:
            if not (is_peer() and (isinstance(error, PeerError) or _is_ended_with_the_main_process())):
                say(f"error: {error}\n")
            leave(error.exit_code)
        except (MemoryError, OSError, RuntimeError) as error:
            if (taken := want_of_memory(error)) is not None:
                say(_memory_ran_out(taken))
                leave(1)
            if not isinstance(error, OSError):
                raise
            say(f"error: {error.strerror or error}: {error.filename or 'a file'}; choose another.\n")
            leave(1)
        finally:
            # All is done and said: while Python takes itself down, a signal could only end in a traceback or silently.
            for number in (signal.SIGINT, signal.SIGTERM):
                atexit.register(signal.signal, number, signal.SIG_IGN)


def _mistyped(error: typer.TyperException) -> str:
    """What is said of arguments that typer does not take; nothing where it has printed the help instead."""
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    command = context.command_path if context else " ".join(["brainspade", *_command()])
    stop = "" if message.endswith("?") else ";"
    return f"error: {message}{stop} {command} --help says what there is.\n" if message else ""


def _command() -> list[str]:
    """The words before the first option: a command, and what else stands there."""
    return list(takewhile(lambda word: not word.startswith("-"), sys.argv[1:]))


def _stopped(code: int) -> str:
    """What is said of a run that a signal ended."""
    command = next(iter(_command()), "")
    what = "stopped by SIGTERM" if code == TERMINATED else "interrupted"
    return f"{what}; {KEPT_OF.get(command, KEPT)}.\n"


def _memory_ran_out(what: str) -> str:
    """What is said where there is no more memory; `what` took it, as far as that is known."""
    at = f" ({what})" if what else ""
    said = BrainspadeError(f"memory ran out{at}; end other programs or take a larger machine, and run it again.")
    return f"error: {said}\n"


def _is_ended_with_the_main_process() -> bool:
    """Wait whether torchrun ends this peer, as it soon does where the main process ends."""
    try:
        time.sleep(PEER_SECONDS)
    except KeyboardInterrupt:
        return True
    return False


if __name__ == "__main__":
    main()
