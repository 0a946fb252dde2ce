"""Which slices of many are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.evaluating.slice_source import evenly


@given(st.integers(1, 30_000), st.integers(1, 6000))
def test_one_from_each_part_in_order(count, most):
    chosen = evenly(count, most)
    assert chosen == evenly(count, most)
    assert len(chosen) == min(count, most)
    if count > most:
        starts = [place * count // most for place in range(1, most)]
        assert np.searchsorted(starts, chosen, "right").tolist() == list(range(most))
    assert all(isinstance(one, int) and 0 <= one < count for one in chosen)


@pytest.mark.parametrize(("count", "most"), [(2000, 24), (20_000, 5000), (2000, 200), (30_000, 1000)])
def test_a_dataset_that_alternates_is_seen_as_it_is(count, most):
    """Every second pair has a lesion: so have about half of those that are looked at."""
    odd = np.mean([one % 2 for one in evenly(count, most)])
    assert abs(odd - 0.5) < 3 * 0.5 / np.sqrt(most)
