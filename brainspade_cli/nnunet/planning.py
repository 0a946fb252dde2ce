"""Along which axis nnU-Net will cut a dataset into slices, judged as its planner does: by spacing alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from brainspade_cli.console import Reporter
from brainspade_cli.nnunet.check_case import CaseFacts

# nnU-Net's: an axis is coarse if its spacing is this many times that of the others, and it has that many fewer voxels.
ANISOTROPY = 3


def planned_axis(facts: Mapping[str, CaseFacts]) -> int:
    """Axis (0, 1, 2 of z, y, x) along which nnU-Net's 2d configuration slices: the first of the largest target spacing.

    The target is the median spacing; on a coarse axis, the 10th percentile of the spacings, but more than the others'.
    (nnU-Net takes the shapes cropped to the brain here, which changes a verdict only where it is a close call.)
    """
    spacings = np.array([found.spacing for found in facts.values()])
    shapes = np.array([found.shape for found in facts.values()])
    target = np.percentile(spacings, 50, 0)
    size = np.percentile(shapes, 50, 0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > ANISOTROPY * max(target[others])
    if coarse and size[worst] * ANISOTROPY < min(size[others]):
        target[worst] = np.percentile(spacings[:, worst], 10)
        if target[worst] < max(target[others]):
            target[worst] = max(target[others]) + 1e-5
    return int(np.argmax(target))


def planning_problems(facts: Mapping[str, CaseFacts], reporter: Reporter) -> list[tuple[str | None, str]]:
    """Name the cases that nnU-Net would cut into lines instead of slices, and warn where it would mix planes.

    Returns (case, text); case is None where it is the same with all of them.
    """
    if not facts:
        return []
    axis = planned_axis(facts)
    lines = [
        name
        for name, found in facts.items()
        if any(size == 1 for place, size in enumerate(found.shape) if place != axis)
    ]
    planes = Counter(found.axes[axis] for found in facts.values() if found.axes)
    if len(planes) > 1:
        listed = ", ".join(f"{count} along {body} axis" for body, count in planes.most_common())
        reporter.warn(f"nnU-Net does not reorient, and would slice {listed}; bring the scans into one orientation.")
    if len(lines) == len(facts):
        shape, spacing = facts[lines[0]].shape, facts[lines[0]].spacing
        return [
            (
                None,
                f"nnU-Net would cut every case into lines: of shape {shape} and spacing {spacing} mm (z, y, x) it"
                f" slices along axis {axis}; the spacing of a slice's thin axis must be no smaller than the others.",
            )
        ]
    return [
        (name, f"its slice would be cut into lines: nnU-Net slices this dataset along axis {axis} of (z, y, x).")
        for name in lines
    ]
