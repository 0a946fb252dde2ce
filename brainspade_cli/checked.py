"""Values of JSON data that anybody may have edited: each read by its type and size, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Nothing that is measured or counted here comes near it, and sums, squares and spans of such numbers stay finite.
LARGEST = 1e15


def number(value: Any) -> float | None:
    """A float of a JSON number from -LARGEST to LARGEST; None for anything else, NaN and truth values among it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before it is turned: an integer of hundreds of digits fits no float.
    return float(value) if -LARGEST <= value <= LARGEST else None


def count(value: Any) -> int | None:
    """A JSON integer from 0 to LARGEST, None for anything else."""
    return value if type(value) is int and 0 <= value <= LARGEST else None


def text(value: Any) -> str:
    """A JSON string, "" for anything else."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> tuple[str, ...]:
    """The strings of a JSON list that are not empty, in their order."""
    return tuple(item for item in items(value) if isinstance(item, str) and item)


def table(value: Any) -> Mapping[str, Any]:
    """A JSON object, {} for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A JSON list, [] for anything else."""
    return value if isinstance(value, list) else []


def tables(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a JSON list, in their order."""
    return [item for item in items(value) if isinstance(item, dict)]
