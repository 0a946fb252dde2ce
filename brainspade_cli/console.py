"""What a person sees: messages and progress on stderr (progress on a terminal only), results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brainspade_cli.errors import one_line


class Reporter:
    """Carries a run's messages, so that library code never prints by itself.

    `quiet` drops messages and progress but never warnings or results; `as_json` prints results as one JSON document.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line about what is going on."""
        if not self.quiet:
            self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A line that the reader should not miss."""
        self._console.print(f"warning: {one_line(text)}", markup=False, style="yellow")

    @contextmanager
    def progress(self, description: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
        """Show a bar while the block runs; call the yielded function as `advance(steps=1, note="")`."""
        if self.quiet or not self._console.is_terminal:
            yield lambda steps=1, note="": None
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(description, total=total, completed=done, note="")

            def advance(steps: int = 1, note: str = "") -> None:
                bar.update(task, advance=steps, note=note)

            yield advance

    def result(self, text: str, data: dict[str, Any]) -> None:
        """Print what the command produced on stdout: `text` for people, `data` with --json."""
        # Names of files may hold what the terminal's encoding cannot say; a finished run is not to fail of that.
        code = sys.stdout.encoding or "utf-8"
        whole = code.casefold().replace("-", "") == "utf8"
        shown = json.dumps(data, ensure_ascii=not whole) if self.as_json else text
        sys.stdout.write(shown.encode(code, "backslashreplace").decode(code) + "\n")
        sys.stdout.flush()
