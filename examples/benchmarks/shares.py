"""Where the time of our default goes: each network, writing, and the rest; and how many FLOPs a pair takes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.devices import Compute
from brainspade_cli.sampling import case_writer, generate, inference, label_blocks, sample
from brainspade_cli.sampling.run import SampleRequest

# What is timed of each of a bundle's files.
PARTS = {"denoiser": "denoiser", "label_autoencoder": "decoder", "spade_generator": "painter"}


@dataclass
class Meter:
    """Busy seconds by part: of the threads that a part runs in on a CPU, of the device elsewhere."""

    device: torch.device
    seconds: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    _begun: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """The clock of this thread, or of everything before now on an accelerator."""
        if self.device.type == "cpu":
            return time.thread_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def add(self, part: str, seconds: float) -> None:
        """Count one call of a part; from any thread."""
        with self._lock:
            self.seconds[part] += seconds
            self.calls[part] += 1

    def watch(self, part: str, module: nn.Module) -> nn.Module:
        """Time every forward pass of a module."""

        def before(*_: Any) -> None:
            self._begun.at = self.now()

        def after(*_: Any) -> None:
            self.add(part, self.now() - self._begun.at)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
        return module


def busy_seconds(request: SampleRequest, device: torch.device) -> tuple[dict[str, float], float]:
    """Run a request; seconds by part, and all busy seconds (a CPU's) or wall seconds (else).

    The networks are watched where the bundle hands them out, the writer and post-processing where they run: the look
    through labels, the soft borders of lesions, the faint oedemas, and the spots in CSF.
    """
    meter = Meter(device)
    network, write, look = Bundle.network, case_writer.CaseWriter._write, label_blocks.GeneratedLabels._label

    def watched(self: Bundle, name: str, device: torch.device | str = "cpu") -> nn.Module:
        module = network(self, name, device)
        part = PARTS.get(name.removesuffix("_healthy").removesuffix("_tumour"))
        if part == "decoder":
            meter.watch(part, module.vae.decoder)  # type: ignore[union-attr,arg-type]
        elif part is not None:
            meter.watch(part, module)
        return module

    def timed(part: str, method: Any) -> Any:
        def call(*arguments: Any) -> Any:
            begun = time.thread_time()
            try:
                return method(*arguments)
            finally:
                meter.add(part, time.thread_time() - begun)

        return call

    patches: tuple[tuple[Any, str, Any, Any], ...] = (
        (Bundle, "network", watched, network),
        (case_writer.CaseWriter, "_write", timed("writing", write), write),
        (label_blocks.GeneratedLabels, "_label", timed("post-processing", look), look),
        *(
            (generate, name, timed("post-processing", getattr(generate, name)), getattr(generate, name))
            for name in ("with_contrast", "mixture", "with_fewer_spots")
        ),
    )
    if device.type != "cpu":
        # Else each lane's clock would count what the device does for the others.
        patches += ((generate, "_lane_count", lambda *_: 1, generate._lane_count),)
    for owner, name, replacement, _ in patches:
        setattr(owner, name, replacement)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    try:
        sample.run_sampling(request, Reporter(quiet=True))
    finally:
        for owner, name, _, original in patches:
            setattr(owner, name, original)
    total = clock() - begun
    parts = {part: meter.seconds[part] for part in (*PARTS.values(), "post-processing", "writing")}
    return parts, total


@torch.inference_mode()
def flops(bundle: Bundle, compute: Compute, population: str) -> dict[str, float]:
    """FLOPs (two a multiplication and addition) of one denoiser evaluation, one decoding, one painted image.

    They are those of the networks as `sample` runs them on the device.
    """
    config = bundle.config.networks
    device = compute.device
    latent = torch.randn(1, *config.autoencoder.latent_shape, device=device)
    time_zero, told = torch.zeros(1, dtype=torch.long, device=device), torch.zeros(1, 3, device=device)
    maps, style = torch.zeros(1, 8, 192, 256, device=device), torch.zeros(1, config.style_encoder.style_dim)
    denoiser = inference.open_denoiser(bundle, population, compute)
    autoencoder, generator = inference.open_autoencoder(bundle, compute), inference.open_generator(bundle, compute)
    calls: dict[str, Callable[[], Tensor]] = {
        "denoiser": lambda: denoiser(latent, time_zero, told),
        "decoder": lambda: autoencoder.decode(latent),
        "painter": lambda: generator(maps, style.to(device)),
    }
    counted = {}
    for part, call in calls.items():
        # Of torch's fast attention on a CPU the counter knows nothing.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            call()
        counted[part] = float(counter.get_total_flops())
    return counted


def parameters(bundle: Bundle, population: str) -> dict[str, int]:
    """Parameters of each network, in the order of `flops`."""
    names = {"denoiser": f"denoiser_{population}", "decoder": "label_autoencoder", "painter": "spade_generator"}
    return {part: sum(tensor.numel() for tensor in bundle.network(name).parameters()) for part, name in names.items()}


def peak_flops(compute: Compute, seconds: float = 2.0) -> float:
    """FLOPs a second of a large matrix product in the run's precision, on all of the device: as near as one gets."""
    cpu = compute.is_cpu
    # An accelerator is through with the smaller one before it has got going.
    size = 2048 if cpu else 8192
    matrix = torch.randn(size, size, device=compute.device).to(compute.dtype)
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        if not cpu:
            torch.cuda.synchronize(compute.device)
        begun = time.perf_counter()
        matrix @ matrix
        if not cpu:
            torch.cuda.synchronize(compute.device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def request_for(styles: Sequence[str], folder: Path, pairs: int, options: dict[str, Any]) -> SampleRequest:
    """A sampling request into `folder`."""
    return SampleRequest(styles=tuple(styles), pairs=pairs, folder=folder, **options)
