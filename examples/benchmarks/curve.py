"""How few evaluations draw labels as good as a thousand do: distances of label statistics, and a plot of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.devices import Compute
from brainspade_cli.diffusion import samplers
from brainspade_cli.evaluating.label_distance import LabelDistance, label_distance
from brainspade_cli.evaluating.label_statistics import LabelTable, describe_labels
from brainspade_cli.files import replacing
from brainspade_cli.sampling.label_blocks import GeneratedLabels, LabelDraw
from brainspade_cli.sampling.lanes import Lanes
from brainspade_cli.sampling.plan import BLOCK, FITTED, PairPlan
from brainspade_cli.sampling.run import PAIRS_VERSION
from brainspade_cli.sampling.solvers import resolved

COUNTS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 40, 80)


@dataclass(frozen=True)
class Point:
    """Labels of one sampler and step count, held against the reference.

    `differing`: the share of brain pixels that are not those of the reference drawn from the same noise; NaN where the
    noise is another. `failed`: the share of labels that did not pass their checks.
    """

    sampler: str
    steps: int
    distance: LabelDistance
    differing: float
    failed: float


@dataclass(frozen=True)
class Drawn:
    """Labels (n, 192, 256) as first drawn, their heights, and the share that failed its checks."""

    labels: NDArray[np.uint8]
    heights: tuple[float, ...]
    failed: float

    def table(self) -> LabelTable:
        """Their statistics."""
        return describe_labels(iter(self.labels), positions=self.heights)


def draw(bundle: Bundle, compute: Compute, plan: PairPlan, count: int, cache: Path, reporter: Reporter) -> Drawn:
    """The first `count` labels of a plan, each at its first attempt; kept in `cache`, for 1000 steps take long."""
    name = f"{plan.population}-{plan.sampler}-{plan.steps}-{plan.seed}-{count}-{compute.precision}"
    # The configuration has where structures lie, and the fitted sampler.
    parts = (f"denoiser_{plan.population}.safetensors", "label_autoencoder.safetensors", "config.json")
    marks = [bundle.hashes()[part][:12] for part in parts]
    path = cache / f"{name}-{'-'.join(marks)}-{PAIRS_VERSION}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        source = GeneratedLabels(bundle, plan, compute)
        blocks = range(-(-count // BLOCK))
        draws: list[LabelDraw] = []
        with Lanes() as lanes, reporter.progress(name, count) as advance:
            for block in lanes.in_order(lambda number: _first_attempts(source, number), blocks):
                draws += block
                advance(len(block))
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                labels=np.stack([one.label for one in draws[:count]]),
                heights=[one.position_mm for one in draws[:count]],
                failed=np.mean([bool(one.problems) for one in draws[:count]]),
            )
    with np.load(path, allow_pickle=False) as kept:
        return Drawn(kept["labels"], tuple(kept["heights"].tolist()), float(kept["failed"]))


def _first_attempts(source: GeneratedLabels, number: int) -> list[LabelDraw]:
    return source.first_attempts(range(number * BLOCK, (number + 1) * BLOCK))


def curve(
    bundle: Bundle,
    compute: Compute,
    plans: Sequence[PairPlan],
    *,
    reference: PairPlan,
    reference_compute: Compute,
    count: int,
    cache: Path,
    reporter: Reporter,
) -> tuple[Point, list[Point]]:
    """The noise, then a point for each of the resolved plans, all against the labels of the plan `reference`.

    The noise is the reference drawn once more from another seed: what two equally good sets of this size differ by.
    """
    known = draw(bundle, reference_compute, reference, count, cache, reporter)
    again = draw(bundle, reference_compute, replace(reference, seed=reference.seed + 1), count, cache, reporter)
    distance = label_distance(again.table(), known.table())
    noise = Point(reference.sampler, reference.steps or 0, distance, np.nan, again.failed)
    points = []
    for plan in plans:
        few = draw(bundle, compute, plan, count, cache, reporter)
        brain = (few.labels > 0) | (known.labels > 0)
        differing = float((few.labels != known.labels)[brain].mean())
        distance = label_distance(few.table(), known.table())
        points.append(Point(plan.sampler, plan.steps or 0, distance, differing, few.failed))
    return noise, points


def planned(
    bundle: Bundle, plan: PairPlan, names: Sequence[str] | None, counts: Sequence[int] = COUNTS
) -> list[PairPlan]:
    """What is drawn for a curve: every sampler at every count, the fitted one at its own; None for all that there are.

    Raises InputError for a sampler that there is not, so that it is known before anything takes long.
    """
    if names is None:
        own = [FITTED] if plan.population in bundle.config.solvers else []
        names = [*own, *(name for name, row in samplers().items() if not row.stochastic)]
    steps = {name: [None] if name == FITTED else counts for name in names}
    return [resolved(replace(plan, sampler=name, steps=one), bundle) for name in names for one in steps[name]]


def plot(noise: Point, points: list[Point], path: Path) -> None:
    """Draw distance against evaluations, and the band in which equally good sets lie, into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), dpi=120)
    band = noise.distance.summary
    axes.axhspan(band.low, band.high, color="0.85", label=f"two draws of {noise.steps} evaluations")
    for sampler in dict.fromkeys(point.sampler for point in points):
        row = [point for point in points if point.sampler == sampler]
        axes.plot([p.steps for p in row], [p.distance.summary.value for p in row], marker="o", label=sampler)
    axes.set(xscale="log", yscale="log", xlabel="evaluations of the denoiser a label")
    axes.set_ylabel(f"distance of label statistics to {noise.steps}")
    ticks = sorted({point.steps for point in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, fontsize="small", frameon=False)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    pyplot.close(figure)
