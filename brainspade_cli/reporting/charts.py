"""Small charts as inline SVG: histograms, drawn with the page's own colours so that they read in light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.checked import LARGEST

WIDTH, HEIGHT = 260, 130
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 22, 32
BINS = 24
# A thin tail must not squeeze the rest into one bar: what lies beyond is counted in the outermost bars.
TAILS = (0.5, 99.5)


def common_limits(parts: Iterable[NDArray[np.float64]]) -> tuple[float, float] | None:
    """Ends of one axis for several charts, None where there is nothing to show."""
    limits = [_limits(finite) for part in parts if (finite := _countable(part)).size]
    return (min(low for low, _ in limits), max(high for _, high in limits)) if limits else None


def histogram_chart(
    title: str,
    values: Sequence[float] | NDArray[np.float64],
    unit: str,
    colour: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """A histogram of the values of at most `LARGEST` as an <svg>; a line of text where there are none.

    `colour` is a CSS colour, by default the page's accent; `limits`: ends of the axis, by default the values' own.
    """
    finite = _countable(np.asarray(values, np.float64))
    name = html.escape(title)
    if not finite.size:
        return f'<figure class="chart"><figcaption>{name}: nothing to count</figcaption></figure>'
    low, high = limits or _limits(finite)
    counts, _ = np.histogram(np.clip(finite, low, high), BINS, (low, high))
    style = f' style="fill:{html.escape(colour)}"' if colour else ""
    span, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    floor = HEIGHT - BOTTOM
    bars = []
    for place, count in enumerate(counts):
        height = tall * count / counts.max()
        x = LEFT + place * span / BINS
        bars.append(
            f'<rect x="{x:.1f}" y="{floor - height:.1f}" width="{span / BINS - 1:.1f}" height="{height:.1f}"{style}/>'
        )
    median = float(np.median(finite))
    mark = LEFT + span * min(max((median - low) / (high - low), 0.0), 1.0)
    told = f"{title}: {finite.size} values, median {median:.3g}, from {finite.min():.3g} to {finite.max():.3g} {unit}"
    axis = html.escape(f"median {median:.3g} {unit}".strip())
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(told)}">'
        f'<text class="name" x="{LEFT}" y="14">{name}</text>{"".join(bars)}'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>'
        f'<line class="median" x1="{mark:.1f}" x2="{mark:.1f}" y1="{TOP}" y2="{floor}"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 17}">{low:.3g}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 17}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 5}" text-anchor="middle">{axis}</text></svg>'
    )


def _countable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that are numbers, and near enough to each other for bins between them."""
    return values[np.abs(values) <= LARGEST]


def _limits(finite: NDArray[np.float64]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(finite, TAILS))
    flat = high - low < 1e-9 * max(abs(low), abs(high), 1e-9)
    return (low - 0.5, high + 0.5) if flat else (low, high)
