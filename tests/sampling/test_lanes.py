from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from brainspade_cli.sampling.lanes import Lanes


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_torch_uses_one_thread_in_a_lane_and_as_many_as_before_elsewhere() -> None:
    def threads(_: int) -> int:
        torch.ones(200, 200).matmul(torch.ones(200, 200))
        return torch.get_num_threads()

    with Lanes() as lanes:
        assert lanes.count == 2
        assert set(lanes.in_order(threads, range(6))) == {1}
    elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: elsewhere.append(threads(0)))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *elsewhere] == [2, 2]


@pytest.mark.usefixtures("two_threads")
def test_as_many_lanes_as_asked_for_also_beyond_the_threads() -> None:
    everybody = threading.Barrier(3)
    with Lanes(3) as lanes:
        assert len(list(lanes.in_order(lambda _: everybody.wait(10), range(3)))) == 3


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_order_and_little_runs_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    with Lanes() as lanes:
        for number, result in enumerate(lanes.in_order(lambda item: item * item, items())):
            assert result == number**2
            assert len(taken) <= number + lanes.count + 1


@pytest.mark.usefixtures("two_threads")
def test_an_error_reaches_the_caller() -> None:
    with Lanes(1) as lanes, pytest.raises(ZeroDivisionError):
        list(lanes.in_order(lambda item: 1 // item, [1, 0, 1]))


def test_where_no_more_threads_are_to_be_had_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def scarce(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with pytest.raises(RuntimeError, match="new thread"):
        Lanes(3)
    monkeypatch.undo()
    for thread in started:
        thread.join(10)
    assert not any(thread.is_alive() for thread in started)
