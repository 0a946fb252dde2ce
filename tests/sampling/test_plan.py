from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.errors import InputError
from brainspade_cli.sampling.plan import PairPlan


@given(st.integers(0, 100), st.integers(1, 300))
def test_every_prefix_holds_its_share_of_lesions(percent: int, pairs: int) -> None:
    plan = PairPlan(tumour=True, tumour_fraction=percent / 100)
    assert sum(map(plan.wants_lesion, range(pairs))) == pairs * percent // 100


def test_without_tumours_no_pair_wants_one() -> None:
    assert not any(map(PairPlan(tumour_fraction=1.0).wants_lesion, range(20)))


@pytest.mark.parametrize("bad", [{"seed": -1}, {"tumour_fraction": 1.5}, {"faint_fraction": -0.1}, {"guidance": -1.0}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must"):
        PairPlan(**bad)  # type: ignore[arg-type]
