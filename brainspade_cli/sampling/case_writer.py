"""Writing pairs beside the generator: threads, a bounded queue, and a manifest line once the files are on disk."""

from __future__ import annotations

import gzip
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainspade_cli.anatomy import LABELS
from brainspade_cli.errors import BrainspadeError
from brainspade_cli.files import disk_errors, replacing
from brainspade_cli.geometry import grid_affine
from brainspade_cli.nnunet.planes import COMPRESSION
from brainspade_cli.nnunet.raw import RawLayout, write_case
from brainspade_cli.sampling.generate import Pair
from brainspade_cli.sampling.manifest import Manifest, case_name, pv_path

# Most of a writer's time is waiting for the disk, which several can do at once. So many start only where they are
# needed: a disk that takes 10 ms to force a file down then takes 500 pairs of two channels a second.
THREADS = 16
# Pairs that may wait for the disk; the generator waits when there are more, so that memory stays flat.
QUEUE = 32


class CaseWriter:
    """Writes pairs into a dataset and their lines into a manifest; use it as a context manager.

    Leaving the block waits for what is under way, also after an interruption, so that no pair is made twice. What goes
    wrong on the disk is raised by the next `write`, or on leaving, as BrainspadeError.
    """

    def __init__(self, layout: RawLayout, manifest: Manifest, seed: int, save_pv: bool, device: str) -> None:
        self.layout = layout
        self.manifest = manifest
        self.seed = seed
        self.save_pv = save_pv
        self.device = device
        self.written = 0
        self._failed = False
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="writer")
        self._waiting: deque[Future[dict[str, Any]]] = deque()

    def __enter__(self) -> CaseWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # After a pair that failed none is recorded, though its files may be whole: a manifest grows in one order,
            # whatever befalls a run, and what is not in it is made again.
            while self._waiting and not self._failed:
                self._record()
        except BrainspadeError:
            # The first error is the one to tell; the disk's own comes second to it.
            if error is None:
                raise
        finally:
            self._threads.shutdown(cancel_futures=True)

    def write(self, pair: Pair) -> None:
        """Hand a pair over; returns once there is room for it."""
        while len(self._waiting) >= QUEUE:
            self._record()
        self._waiting.append(self._threads.submit(self._write, pair))
        while self._waiting and self._waiting[0].done():
            self._record()

    def _record(self) -> None:
        # Ctrl-C comes here, where the time goes: the pair then stays among those that are recorded on leaving.
        wait([self._waiting[0]])
        self._failed = True
        with disk_errors(self.layout.folder):
            self.manifest.append(self._waiting.popleft().result())
        self._failed = False
        self.written += 1

    def _write(self, pair: Pair) -> dict[str, Any]:
        case = case_name(pair.index)
        images = np.stack(
            [choice.source.scale.store(image) for choice, image in zip(pair.styles, pair.images, strict=True)]
        )
        z_mm = pair.draw.position_mm or 0.0
        if self.save_pv:
            write_maps(self.layout, pair.index, pair.draw.maps, z_mm)
        write_case(self.layout, case, images, pair.draw.label, z_mm)
        return self._row(pair)

    def _row(self, pair: Pair) -> dict[str, Any]:
        draw, layout, case = pair.draw, self.layout, case_name(pair.index)
        files = [*layout.case_paths(case, len(pair.images)), *([pv_path(layout, pair.index)] if self.save_pv else [])]
        return {
            "case": case,
            "index": pair.index,
            "seed": self.seed,
            "attempts": draw.attempts,
            "problems": list(draw.problems),
            "lesion": draw.lesion,
            "position_mm": draw.position_mm,
            "oedema_contrast": draw.oedema_contrast,
            "spot_pixels": list(pair.spot_pixels),
            "origin": draw.origin,
            "origin_sha256": draw.origin_sha256,
            "pixels": {label.name: int(np.count_nonzero(draw.label == label.channel)) for label in LABELS},
            "styles": [
                {
                    "channel": choice.source.channel,
                    "name": choice.source.name,
                    "sha256": choice.source.sha256,
                    "slice": choice.slice_index,
                }
                for choice in pair.styles
            ],
            "device": self.device,
            "files": [str(path.relative_to(layout.folder).as_posix()) for path in files],
        }


def write_maps(layout: RawLayout, index: int, maps: NDArray[np.uint8], z_mm: float) -> None:
    """Write PV maps (8, X, Y), summing to 255, as a NIfTI (X, Y, 1, 8) of bytes that reads as 0..1."""
    affine = grid_affine()
    affine[2, 3] = z_mm
    image = nib.Nifti1Image(np.ascontiguousarray(np.moveaxis(maps, 0, -1)[:, :, None]), affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1 / 255, 0)
    path = pv_path(layout, index)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), COMPRESSION, mtime=0))
