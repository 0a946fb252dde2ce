"""Batches made ahead come in order, each made once, and what goes wrong comes at its own step."""

from __future__ import annotations

import threading

import pytest

from brainspade_cli.training.ahead import made_ahead


@pytest.mark.parametrize("ahead", [0, 1, 3, 20])
def test_all_come_in_order_and_are_made_once(ahead: int) -> None:
    made: list[int] = []
    with made_ahead(lambda step: made.append(step) or 10 * step, range(3, 12), ahead) as batches:
        assert list(batches) == [10 * step for step in range(3, 12)]
    assert sorted(made) == list(range(3, 12))


def test_the_next_is_made_while_one_is_used() -> None:
    begun = threading.Event()

    def make(step: int) -> int:
        if step == 1:
            begun.set()
        return step

    with made_ahead(make, range(5), 1) as batches:
        assert next(batches) == 0
        assert begun.wait(10)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_failure_comes_at_its_step(ahead: int) -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("slice 2")
        return step

    with made_ahead(make, range(9), ahead) as batches:
        assert [next(batches), next(batches)] == [0, 1]
        with pytest.raises(ValueError, match="slice 2"):
            next(batches)


def test_leaving_early_makes_no_more() -> None:
    made: list[int] = []
    with made_ahead(made.append, range(1000), 2) as batches:
        next(batches)
    assert len(made) <= 4
