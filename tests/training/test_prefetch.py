from __future__ import annotations

import threading
import time

import pytest

from brainspade_cli.training.prefetch import Prefetch


def test_every_step_comes_once_and_in_order():
    assert list(Prefetch(lambda step: step * step, range(3, 7))) == [(3, 9), (4, 16), (5, 25), (6, 36)]
    assert list(Prefetch(lambda step: step, range(4, 4))) == []


def test_the_next_step_is_made_while_the_last_is_in_use():
    made = [threading.Event() for _ in range(3)]

    def make(step: int) -> int:
        made[step].set()
        return step

    batches = iter(Prefetch(make, range(3)))
    next(batches)
    assert made[1].wait(5)
    assert not made[2].is_set()


def test_the_wait_for_slow_data_is_counted():
    batches = Prefetch(lambda step: time.sleep(0.05), range(4))
    for _ in batches:
        pass
    assert batches.waited == pytest.approx(0.2, rel=0.5)
    idle = Prefetch(lambda step: None, range(4))
    for _ in idle:
        time.sleep(0.02)
    assert idle.waited < 0.02


def test_what_goes_wrong_is_raised_at_its_step():
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("no such slice")
        return step

    batches = iter(Prefetch(make, range(5)))
    assert [next(batches)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="no such slice"):
        next(batches)
