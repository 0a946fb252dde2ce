"""Everything that the commands import, for the process that theirs are forked from."""

from __future__ import annotations

import brainspade_cli.cli
import brainspade_cli.nnunet.export
import brainspade_cli.preparing.prepare
import brainspade_cli.sampling.sample
import brainspade_cli.training.images
import brainspade_cli.training.labels  # noqa: F401
