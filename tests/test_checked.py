from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.checked import LARGEST, count, items, number, table, tables, text, texts

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**400), 10**400) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    max_leaves=5,
)


@given(value=JSON)
def test_whatever_is_read_comes_out_as_its_type_or_not_at_all(value: Any) -> None:
    found = number(value)
    assert found is None or (type(found) is float and math.isfinite(found) and found == value)
    whole = count(value)
    assert whole is None or (whole == value and 0 <= float(whole) <= LARGEST)
    assert isinstance(text(value), str)
    assert isinstance(items(value), list)
    assert isinstance(table(value), dict)
    assert all(isinstance(item, dict) for item in tables(value))
    assert all(isinstance(item, str) for item in texts(value))


@pytest.mark.parametrize("value", ["9" * 400, "NaN", "1e999", "-1.7e308", "true", '"3"'])
def test_what_is_no_usable_number_is_none(value: str) -> None:
    assert number(json.loads(value)) is None
    assert count(json.loads(value)) is None


def test_what_is_right_is_kept() -> None:
    assert (number(3), number(-0.5), count(0), count(-1)) == (3.0, -0.5, 0, None)
    assert (text("a"), texts(["a", 3, ""]), tables([{}, 1])) == ("a", ("a",), [{}])
