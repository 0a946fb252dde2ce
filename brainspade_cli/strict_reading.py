"""Parsed JSON as frozen dataclasses, by their types alone, and no laxer than these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


class MisfitError(Exception):
    """What is wrong with an entry of a JSON file, in words."""


_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}


def read_strictly(kind: Any, value: Any, key: str) -> Any:
    """`value` as the type `kind`: a dataclass, tuple[X, ...], dict[str, X], X | None, Any, or a plain type.

    `key` names the value in messages. Nothing is converted but lists to tuples and whole numbers to floats. Raises
    MisfitError for an unknown, missing or ill-typed entry, and for what a dataclass refuses.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None else read_strictly(inner[0], value, key)
    if is_dataclass(kind):
        return _read_record(kind, value, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise MisfitError(f"{key} must be a list")
        return tuple(read_strictly(inner[0], part, f"{key}[{index}]") for index, part in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise MisfitError(f"{key} must be a table")
        return {str(name): read_strictly(inner[1], part, f"{key}.{name}") for name, part in value.items()}
    if kind is Any:
        return value
    if kind is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    # type(), because True is an int to isinstance; JSON as Python reads it may hold NaN and Infinity.
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise MisfitError(f"{key} must be {_WORDS[kind]}, not {value!r}")
    return value


def _read_record(kind: Any, value: Any, key: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise MisfitError(f"{key} must be a table")
    prefix = f"{key}." if key else ""
    hints = get_type_hints(kind)
    unknown = sorted(set(value) - {entry.name for entry in fields(kind)})
    if unknown:
        raise MisfitError(f"{prefix}{unknown[0]} is not an entry that this brainspade knows, but a newer one may")
    read: dict[str, Any] = {}
    for entry in fields(kind):
        if entry.name in value:
            read[entry.name] = read_strictly(hints[entry.name], value[entry.name], prefix + entry.name)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise MisfitError(f"{prefix}{entry.name} is missing")
    try:
        return kind(**read)
    except ValueError as error:
        raise MisfitError(f"{prefix}{error}") from None
