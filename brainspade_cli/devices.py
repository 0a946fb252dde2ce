"""Which device and precision a sampling run uses."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from brainspade_cli.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Compute:
    """A device, and the precision of the networks on it: "bf16" or "fp32"."""

    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """The type of the networks' weights and features."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> torch.autocast:
        """Context in which float32 networks compute in the chosen precision, as they do in training."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def is_cpu(self) -> bool:
        """Whether there is no accelerator."""
        return self.device.type == "cpu"

    def describe(self) -> str:
        """The device in words, such as "cuda (NVIDIA H100)" or "cpu (2 threads)"."""
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return f"cpu ({torch.get_num_threads()} threads)" if self.is_cpu else str(self.device)


def open_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve "auto": the best device there is, and bf16 where it has instructions for it.

    Under torchrun each process takes the GPU of its local rank. Raises InputError for what is not there.
    """
    if device not in DEVICES:
        raise InputError(f"There is no device '{device}'; choose one of {', '.join(DEVICES)}.")
    if precision not in PRECISIONS:
        raise InputError(f"There is no precision '{precision}'; choose one of {', '.join(PRECISIONS)}.")
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "cuda" and not has_cuda:
        raise InputError("No CUDA device was found; choose --device cpu or auto.")
    if device == "mps" and not has_mps:
        raise InputError("No MPS device was found; choose --device cpu or auto.")
    if device == "auto":
        device = "cuda" if has_cuda else "mps" if has_mps else "cpu"
    chosen = torch.device(device)
    if device == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if precision == "auto":
        precision = "bf16" if _has_bf16(chosen) else "fp32"
    return Compute(chosen, precision)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
