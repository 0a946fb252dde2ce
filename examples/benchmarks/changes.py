"""What each change bought: our default with one of them taken back at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from plain import plain_attention

from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.devices import Compute
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.sampling import case_writer, generate, inference, label_blocks, lanes, sample
from brainspade_cli.sampling.plan import BLOCK, WIDE_BLOCK
from brainspade_cli.sampling.run import SampleRequest


@dataclass(frozen=True)
class Change:
    """One change taken back.

    `request`: what it makes of the request; `patches`: (owner, name of an attribute, value) that hold meanwhile.
    """

    name: str
    request: Callable[[SampleRequest], SampleRequest] = lambda request: request
    patches: tuple[tuple[Any, str, Any], ...] = field(default=())


def _drawn_by(sampler: str, steps: int) -> Callable[[SampleRequest], SampleRequest]:
    return lambda request: replace(request, plan=replace(request.plan, sampler=sampler, steps=steps))


def changes(device: torch.device) -> tuple[Change, ...]:
    """The changes that concern a device; the first row takes back nothing."""
    rows = [
        Change("nothing: our default"),
        Change("few steps: DDIM in 80", _drawn_by("ddim", 80)),
        Change("the fitted sampler: UniPC in 6 steps", _drawn_by("unipc", 6)),
        Change("bf16: float32", lambda request: replace(request, precision="fp32")),
        Change("fast attention: the plain one", patches=((label_blocks, "open_denoiser", _plain_denoiser),)),
        Change(
            "channels last: the usual layout",
            patches=(
                (inference, "channels_last", lambda network: network),
                (generate, "channels_last", lambda maps: maps),
            ),
        ),
        Change("settled weights: worked out at every pass", patches=((inference, "_settled", lambda net: net),)),
        Change(
            "sixteen writers and a queue: one pair at a time",
            patches=((case_writer, "THREADS", 1), (case_writer, "QUEUE", 1)),
        ),
    ]
    if device.type == "cpu":
        rows += [
            Change("a lane a thread: one block on all threads", patches=(_one_lane(),)),
            Change(
                "a last layer of sums: torch's convolution", patches=((inference, "OneChannelConv", lambda conv: conv),)
            ),
            Change(
                "doubling and convolution at once: one after the other",
                patches=((inference, "merge_doublings", lambda network: None),),
            ),
            Change("failed labels again by ones: a block each", patches=((label_blocks, "REDRAWN_TOGETHER", BLOCK),)),
        ]
    else:
        rows.append(
            Change(
                "failed labels again by sixteens: a block each",
                patches=((label_blocks, "WIDE_REDRAWN_TOGETHER", WIDE_BLOCK),),
            )
        )
    return tuple(rows)


def _plain_denoiser(bundle: Bundle, population: str, compute: Compute) -> LabelDenoiser:
    return plain_attention(inference.open_denoiser(bundle, population, compute))


def _one_lane() -> tuple[Any, str, Any]:
    made = lanes.Lanes.__init__

    def one(self: lanes.Lanes, count: int | None = None) -> None:
        threads = torch.get_num_threads()
        made(self, 1)
        self._pool.submit(torch.set_num_threads, threads).result()

    return lanes.Lanes, "__init__", one


@contextmanager
def _patched(patches: tuple[tuple[Any, str, Any], ...]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def seconds_without(request: SampleRequest, device: torch.device) -> list[tuple[str, float]]:
    """Seconds of the request with each change taken back, weights and styles loaded every time.

    A short run goes before, for what is done once a process: kernels are loaded, and a GPU wakes up.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        sample.run_sampling(
            replace(request, pairs=min(request.pairs, BLOCK), folder=Path(folder) / "Dataset501_first"),
            Reporter(quiet=True),
        )
    for change in changes(device):
        with tempfile.TemporaryDirectory() as folder, _patched(change.patches):
            begun = time.perf_counter()
            changed = replace(change.request(request), folder=Path(folder) / "Dataset501_changed")
            sample.run_sampling(changed, Reporter(quiet=True))
            found.append((change.name, time.perf_counter() - begun))
    return found
