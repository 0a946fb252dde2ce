"""What was asked for against what was made: lesions, styles, labels drawn again. Counted, not estimated."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from brainspade_cli.anatomy import LESION_NAMES
from brainspade_cli.checked import count
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS


def balance(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts from the manifest rows of a dataset's synthetic cases, as JSON data.

    lesion_made: share of the pairs. lesion_asked, lesion_as_asked: shares of those with drawn labels, as nothing is
    asked of given ones. redrawn: labels drawn again; flagged: labels kept though they failed their checks. styles: for
    each channel, the share of each style scan, by name and hash. What no row tells is None.
    """
    pairs = asked = made = agreeing = drawn = known = redrawn = flagged = 0
    styles: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        pairs += 1
        pixels = row.get("pixels")
        if isinstance(pixels, dict) and isinstance(row.get("lesion"), bool):
            there = sum(count(pixels.get(name)) or 0 for name in LESION_NAMES) >= MIN_TUMOUR_PIXELS
            known += 1
            made += there
            if row.get("origin") is None:
                drawn += 1
                asked += row["lesion"]
                agreeing += there == row["lesion"]
        redrawn += max(0, (count(row.get("attempts")) or 0) - 1)
        flagged += bool(row.get("problems"))
        for style in row["styles"] if isinstance(row.get("styles"), list) else ():
            if isinstance(style, dict):
                name = f"{style.get('name')} ({str(style.get('sha256'))[:8]})"
                styles[str(style.get("channel"))][name] += 1
    return {
        "pairs": pairs,
        "lesion_asked": asked / drawn if drawn else None,
        "lesion_made": made / known if known else None,
        "lesion_as_asked": agreeing / drawn if drawn else None,
        "redrawn": redrawn,
        "flagged": flagged,
        "styles": {
            channel: {name: times / counts.total() for name, times in sorted(counts.items())}
            for channel, counts in styles.items()
        },
    }
