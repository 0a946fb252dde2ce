"""Where a training runs: device, precision, and this process's place among its peers (Accelerate underneath)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from brainspade_cli.devices import Compute, open_compute
from brainspade_cli.errors import InputError, PeerError
from brainspade_cli.locks import UNLOCKED, hold, let_go

AHEAD = 2


@dataclass(frozen=True)
class Machine:
    """One process of a training: its device and precision, and its peers."""

    accelerator: Accelerator
    compute: Compute

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.compute.device

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return int(self.accelerator.process_index)

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return int(self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    @property
    def batches_ahead(self) -> int:
        """How many batches are made ready in threads while the device computes.

        None on a CPU, which has no time to spare then, nor on Apple's GPUs, which take orders from one thread alone.
        """
        return AHEAD if self.device.type == "cuda" else 0

    def share_of(self, batch: int) -> int:
        """How many of a batch this process takes; raises InputError where the processes cannot share it evenly."""
        if batch % self.processes:
            raise InputError(
                f"A batch of {batch} cannot be split evenly between {self.processes} processes; start fewer of them."
            )
        return batch // self.processes

    def autocast(self) -> torch.autocast:
        """Context in which networks run: bfloat16 autocast, or nothing special."""
        return self.compute.autocast()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes. Raises PeerError, as all messages do, where one has ended."""
        if self.processes == 1:
            return values
        with _peers():
            reduced: Tensor = self.accelerator.reduce(values, reduction="mean")
        return reduced

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes; the same answer in each of them."""
        if self.processes == 1:
            return flag
        return self.mean(torch.tensor(float(flag), device=self.device)).item() > 0

    def agrees(self, value: int) -> bool:
        """Whether all processes hold the same value; the same answer in each of them."""
        if self.processes == 1:
            return True
        own = torch.tensor(value, device=self.device)
        with _peers():
            theirs = broadcast(own.clone(), from_process=0)
        return self.mean((own != theirs).float()).item() == 0

    def mean_in_place(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, all of them sent as one message."""
        if self.processes == 1 or not tensors:
            return
        mean = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, part in zip(tensors, mean.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    @contextmanager
    def alone(self, folder: Path) -> Iterator[None]:
        """Hold a folder of training state while the block runs; raises InputError where another training has it."""
        path = folder / ".at-work"
        handle: int | None = UNLOCKED
        if self.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            handle = hold(path)
        try:
            if self.any(handle is None):
                raise InputError(f"Another training is at work in {folder}; wait for it, or choose another --out.")
            yield
        finally:
            if self.is_main and handle is not None:
                let_go(path, handle)

    def wait(self) -> None:
        """Wait until every process has come here."""
        with _peers():
            self.accelerator.wait_for_everyone()


def open_machine(device: str, precision: str) -> Machine:
    """Open the machine for `device` and `precision`; see `devices.open_compute`, also for what is raised.

    Started under `torchrun`, the processes find each other and split every batch between them.
    """
    compute = open_compute(device, precision)
    return Machine(Accelerator(cpu=compute.is_cpu), compute)


@contextmanager
def _peers() -> Iterator[None]:
    """Raise PeerError where a message between the processes fails because one of them has ended."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of every backend, and of no common type below it
        raise PeerError(
            "Another process of this training has ended; what it said tells why. Mend that, and go on with --resume."
        ) from error


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's global generators seeded, and put them back after it.

    For what draws from the global generators and takes no other: network initialisation and dropout.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
