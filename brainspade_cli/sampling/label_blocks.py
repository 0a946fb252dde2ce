"""Stage 1: labels from noise, a block at a time (paper 2.2). What stage 2 paints can also come from `given_labels`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import ConditionTable
from brainspade_cli.devices import Compute
from brainspade_cli.diffusion import NoiseSchedule, sample_latents
from brainspade_cli.errors import WeightsError
from brainspade_cli.fitted_sampler import sample_fitted
from brainspade_cli.geometry import GRID_ORIGIN, GRID_SHAPE
from brainspade_cli.lesion_sides import across
from brainspade_cli.sampling.batch_size import BatchSize
from brainspade_cli.sampling.inference import open_autoencoder, open_denoiser
from brainspade_cli.sampling.label_checks import ACROSS_PIXELS, BOTH_SIDES, RARE, label_problems, lesion_pixels
from brainspade_cli.sampling.label_maps import to_maps, without_lesions
from brainspade_cli.sampling.label_mending import close_gaps, drop_crumbs, replace_lesions, replace_structures
from brainspade_cli.sampling.plan import BLOCK, MAX_ATTEMPTS, WIDE_BLOCK, PairPlan
from brainspade_cli.sampling.randomness import Stream, generator, torch_generator
from brainspade_cli.sampling.solvers import resolved, solver_of
from brainspade_cli.structure_places import misplaced, open_places

# How many failed labels are drawn again at once. Mostly one of a block fails: by ones each costs a quarter more than by
# twos, and nothing is drawn that nobody needs.
REDRAWN_TOGETHER = 1
# An accelerator takes as long for two labels as for this many: what it does in a step is less than telling it to.
WIDE_REDRAWN_TOGETHER = 16


@dataclass(frozen=True)
class LabelDraw:
    """The label of one pair.

    `maps`: uint8 (8, 192, 256), channels sum to 255; `label`: uint8 (192, 256), their argmax. `position_mm`: height in
    MNI152 z, where known. `lesion`: whether a lesion was asked for. `attempts`: how many labels were drawn for it;
    `problems`: what is wrong with the best of them, empty but for labels that failed every time. `origin`: the file and
    slice that a given label comes from, and `origin_sha256` that file's hash. `oedema_contrast`: the share of its
    contrast to white matter that an oedema is to be painted with (above 0, up to 1), 1 where there is none;
    `oedema.with_contrast` draws it.
    """

    maps: NDArray[np.uint8]
    label: NDArray[np.uint8]
    position_mm: float | None
    lesion: bool
    attempts: int = 1
    problems: tuple[str, ...] = ()
    origin: str | None = None
    origin_sha256: str | None = None
    oedema_contrast: float = 1.0


class LabelSource(Protocol):
    """Whatever yields the labels of a block of pairs."""

    def draw(self, members: range) -> list[LabelDraw]:
        """The labels of the pairs of a whole block; the same ones at every call, from any thread."""
        ...


@dataclass(frozen=True)
class _Request:
    index: int
    attempt: int


class GeneratedLabels:
    """Labels from the bundle's denoiser and autoencoder; several threads may ask for blocks at once.

    Where memory does not hold as many as are to be drawn at once, fewer are from then on, and `on_notice` is told.

    Raises WeightsError where the bundle lacks what the plan needs, InputError for an unknown sampler or step count.
    """

    def __init__(
        self, bundle: Bundle, plan: PairPlan, compute: Compute, on_notice: Callable[[str], None] = lambda text: None
    ) -> None:
        self.stopping = threading.Event()
        self.plan = resolved(plan, bundle)
        self.solver = solver_of(self.plan, bundle)
        self.compute = compute
        self.denoiser = open_denoiser(bundle, plan.population, compute)
        self.autoencoder = open_autoencoder(bundle, compute)
        self.table = bundle.conditions(plan.population)
        self.one_sided = self.table.lesions_across <= RARE
        self.places = open_places(self.table.places)
        statistics = bundle.latent()
        self.limit = statistics.limit
        if compute.device.type == "cuda" and self.solver is None:
            # UniPC solves a small system a step. torch loads what it takes at the first one, and lanes that come to it
            # together would each begin to.
            torch.linalg.solve(torch.eye(2, device=compute.device), torch.ones(2, device=compute.device))
        self.mean = torch.tensor(statistics.mean, device=compute.device).view(1, -1, 1, 1)
        self.std = torch.tensor(statistics.std, device=compute.device).view(1, -1, 1, 1)
        self.schedule = NoiseSchedule(bundle.config.networks.schedule)
        self.batch = BatchSize(BLOCK if compute.is_cpu else WIDE_BLOCK, "label", "drawn", compute, on_notice)
        self.redrawn_together = REDRAWN_TOGETHER if compute.is_cpu else WIDE_REDRAWN_TOGETHER
        self.latent_shape = bundle.config.networks.autoencoder.latent_shape

    def draw(self, members: range) -> list[LabelDraw]:
        """The labels of a block. Those that fail their checks are drawn again, up to `MAX_ATTEMPTS` times.

        The first attempt that passes is kept; where none does, the one with fewest problems. How many networks see at
        once is fixed for the first attempts, and for all later ones: other shapes would give other last bits.
        """
        best = dict(zip(members, self.first_attempts(members), strict=True))
        tried, together = 1, self.redrawn_together
        while tried < MAX_ATTEMPTS and (failed := [index for index, draw in best.items() if draw.problems]):
            # Where fewer failed than fit, the rest of the batch is used for attempts further on.
            attempts = range(tried, min(tried + max(1, together // len(failed)), MAX_ATTEMPTS))
            again = [_Request(index, attempt) for attempt in attempts for index in failed]
            for start in range(0, len(again), together):
                for draw, request in self._denoise(again[start : start + together], together):
                    if len(draw.problems) < len(best[request.index].problems):
                        best[request.index] = draw
            tried = attempts.stop
        if empty := [index for index, draw in best.items() if not draw.label.any()]:
            raise WeightsError(
                f"These weights drew no brain for pair {empty[0]} in {MAX_ATTEMPTS} attempts; use other weights."
            )
        return [replace(draw, attempts=tried) if draw.problems else draw for _, draw in sorted(best.items())]

    def first_attempts(self, members: range) -> list[LabelDraw]:
        """The first label drawn for each pair of a block, whether it passes its checks or not."""
        return [draw for draw, _ in self._denoise([_Request(index, 0) for index in members], len(members))]

    def stop(self) -> None:
        """End the denoising that is under way in other threads, within a step."""
        self.stopping.set()

    def _denoise(self, requests: Sequence[_Request], together: int) -> list[tuple[LabelDraw, _Request]]:
        """One label for each of 1 to `together` requests, in parts where memory does not hold that many."""
        while True:
            size = min(together, self.batch.size)
            try:
                parts = [self._at_once(requests[start : start + size], size) for start in range(0, len(requests), size)]
            except torch.OutOfMemoryError as error:
                self.batch.halve(size, error)
                continue
            return [one for part in parts for one in part]

    @torch.inference_mode()
    def _at_once(self, requests: Sequence[_Request], together: int) -> list[tuple[LabelDraw, _Request]]:
        """One label for each of 1 to `together` requests; the denoiser sees `together` latents in any case."""
        padded = [*requests, *[requests[-1]] * (together - len(requests))]
        seed = self.plan.seed
        conditions = [self._condition(request) for request in padded]
        noise = [
            generator(seed, Stream.LABEL_NOISE, request.index, request.attempt).standard_normal(
                self.latent_shape, dtype=np.float32
            )
            for request in padded
        ]
        predict = _Guided(self, torch.tensor(conditions, device=self.compute.device))
        pure_noise = torch.from_numpy(np.stack(noise)).to(self.compute.device)
        if self.solver is not None:
            latents = sample_fitted(predict, pure_noise, schedule=self.schedule, solver=self.solver, limit=self.limit)
        else:
            latents = sample_latents(
                predict,
                pure_noise,
                schedule=self.schedule,
                sampler=self.plan.sampler,
                steps=self.plan.steps,
                generators=[torch_generator(seed, Stream.SAMPLER, item.index, item.attempt) for item in padded],
                limit=self.limit,
            )
        latents = (latents * self.std + self.mean)[: len(requests)]
        # One at a time on a CPU: no bit of a label then depends on how many there are, and memory stays low and flat.
        size = 1 if self.compute.is_cpu else len(requests)
        draws: list[LabelDraw] = []
        for start in range(0, len(requests), size):
            part = slice(start, start + size)
            logits = self.autoencoder.decode(latents[part])
            if not logits.sum(dtype=torch.float32).isfinite():
                raise WeightsError(
                    "These weights gave labels that are not numbers; try --precision fp32, or other weights."
                )
            draws += self._label(logits, conditions[part], requests[part])
        return list(zip(draws, requests, strict=True))

    def _condition(self, request: _Request) -> tuple[float, float, float]:
        rng = generator(self.plan.seed, Stream.LABEL_CONDITION, request.index, request.attempt)
        return draw_condition(self.table, self.plan.wants_lesion(request.index), rng)

    def _label(
        self, logits: Tensor, conditions: Sequence[tuple[float, float, float]], requests: Sequence[_Request]
    ) -> list[LabelDraw]:
        if not self.plan.tumour:
            logits = without_lesions(logits)
        fractions, channels = to_maps(logits)
        maps, labels = fractions.cpu().numpy(), channels.cpu().numpy()
        draws = []
        for place, request in enumerate(requests):
            lesion, label = self.plan.wants_lesion(request.index), labels[place]
            problems = label_problems(label, lesion)
            mended = not lesion and lesion_pixels(label) > 0
            if mended:
                # A label without a lesion holds no pixel of one, also where every attempt has drawn more than a few.
                healthy, channels = to_maps(without_lesions(logits[place : place + 1]))
                maps[place], label = healthy[0].cpu().numpy(), channels[0].cpu().numpy()
            if lesion and self.one_sided and (strays := across(label)).any():
                if np.count_nonzero(strays) >= ACROSS_PIXELS:
                    problems += (BOTH_SIDES,)
                else:
                    mended = replace_lesions(maps[place], label, strays)
            height = int(np.searchsorted(self.table.position_edges[1:-1], conditions[place][0], side="right"))
            if (strays := misplaced(label, self.places, height)).any():
                mended |= replace_structures(maps[place], label, strays)
            if drop_crumbs(maps[place], label) or mended:
                # A lesion may have lain in the pieces that were just taken away.
                problems = tuple(dict.fromkeys((*problems, *label_problems(label, lesion))))
            close_gaps(maps[place], label)
            draws.append(
                LabelDraw(
                    maps=maps[place],
                    label=label,
                    position_mm=GRID_ORIGIN[2] + conditions[place][0] * (GRID_SHAPE[2] - 1),
                    lesion=lesion,
                    attempts=request.attempt + 1,
                    problems=problems,
                )
            )
        return draws


class StoppedError(Exception):
    """Raised in a block that nobody waits for any more."""


class _Guided:
    """What the denoiser predicts under `conditions` (B, 3), with classifier-free guidance."""

    def __init__(self, labels: GeneratedLabels, conditions: Tensor) -> None:
        self.labels = labels
        self.conditions = conditions

    def __call__(self, latents: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser predicts of latents (B, C, h, w) at timesteps (B,)."""
        if self.labels.stopping.is_set():
            raise StoppedError
        denoiser, guidance = self.labels.denoiser, self.labels.plan.guidance
        if guidance == 1:
            only: Tensor = denoiser(latents, timesteps, self.conditions)
            return only.float()
        keep = torch.arange(2 * len(latents), device=latents.device) < len(latents)
        both = denoiser(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), self.conditions.repeat(2, 1), keep)
        told, untold = both.float().chunk(2)
        return untold + guidance * (told - untold)


def draw_condition(table: ConditionTable, lesion: bool, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw (position 0..1, lesion presence 0/1, lesion load 0..1) as the training slices had them.

    A bin of the joint histogram by its count, among those with a lesion or those without, then uniform inside it.
    Raises WeightsError where the training slices had none of the kind.
    """
    chosen = _of_kind(table, lesion)
    require_kind(table, lesion)
    place = int(rng.choice(chosen.size, p=chosen.ravel() / chosen.sum()))
    row, column = divmod(place, chosen.shape[1])
    within, load = rng.random(2)
    low, high = table.position_edges[row : row + 2]
    position = low + within * (high - low)
    if not lesion:
        return float(position), 0.0, 0.0
    # Column 0, exactly no lesion, was left out of `chosen` and has no edges of its own.
    low, high = table.load_edges[column : column + 2]
    return float(position), 1.0, float(low + load * (high - low))


def has_kind(table: ConditionTable, lesion: bool) -> bool:
    """Whether the training slices had any with (or without) a lesion."""
    return bool(_of_kind(table, lesion).sum() > 0)


def require_kind(table: ConditionTable, lesion: bool) -> None:
    """Raise WeightsError where the training slices had none with (or without) a lesion."""
    if not has_kind(table, lesion):
        raise WeightsError(
            f"These weights were trained on no slices {'with' if lesion else 'without'} a lesion; "
            f"{'leave out --tumour' if lesion else 'ask for a tumour in every slice'} or use other weights."
        )


def _of_kind(table: ConditionTable, lesion: bool) -> NDArray[np.float64]:
    """Counts of slices with (or without) a lesion, (position bins, load bins of the kind)."""
    return np.asarray(table.counts, np.float64)[:, slice(1, None) if lesion else slice(0, 1)]
