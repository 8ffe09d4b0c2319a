"""Who has which GPUs and CPUs, and who waits for whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from sandbox.cancellation import Cancellation
from sandbox.errors import Cancelled
from sandbox.gpu import GpuRequest
from sandbox.slots import Share, Slots

ZERO, ONE, TWO = (Share(GpuRequest((name,)), cpus) for name, cpus in (("0", "0-1"), ("1", "2-3"), ("2", "4-5")))
ALL = Share(GpuRequest())
WAIT = 20.0  # seconds at most


class Waiting:
    """A run in the line, until it is to let go of what it got."""

    def __init__(self, slots: Slots, cancellation: Cancellation | None = None) -> None:
        self.got: Share | None = None
        self.has = threading.Event()
        self.done = threading.Event()
        self._slots = slots
        self._cancellation = cancellation
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with self._slots.take(cancellation=self._cancellation) as self.got:
                self.has.set()
                self.done.wait(WAIT)
        except Cancelled:
            self.has.set()


@pytest.fixture
def in_line() -> Iterator[Callable[..., Waiting]]:
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(waiting(*args))


@contextmanager
def waiting(slots: Slots, cancellation: Cancellation | None = None) -> Iterator[Waiting]:
    """Comes back when it stands in the line."""
    one, before = Waiting(slots, cancellation), len(slots._line)
    one.thread.start()
    while len(slots._line) == before and not one.has.is_set():
        time.sleep(0.001)
    yield one
    one.done.set()
    one.thread.join(WAIT)
    assert not one.thread.is_alive()


def test_each_run_has_a_share_of_its_own_and_the_next_one_waits(in_line: Callable[..., Waiting]) -> None:
    slots = Slots([ZERO, ONE, TWO])
    assert len(slots) == 3
    with slots.take() as first, slots.take() as second, slots.take() as third:
        assert (first, second, third) == (ZERO, ONE, TWO)
        fourth = in_line(slots)
        assert not fourth.has.is_set()
    assert fourth.has.wait(WAIT)
    assert fourth.got


def test_a_share_comes_back_when_a_run_fails() -> None:
    slots = Slots([ZERO])
    with pytest.raises(RuntimeError), slots.take():
        raise RuntimeError
    with slots.take() as share:
        assert share == ZERO


def test_who_came_first_is_served_first(in_line: Callable[..., Waiting]) -> None:
    slots = Slots([ALL])
    with slots.take():
        line = [in_line(slots) for _ in range(5)]
    for place, one in enumerate(line):
        assert one.has.wait(WAIT)
        assert not any(later.has.is_set() for later in line[place + 1 :])
        one.done.set()


def test_who_leaves_the_line_holds_up_nobody(in_line: Callable[..., Waiting]) -> None:
    slots, cancellation = Slots([ALL]), Cancellation()
    with slots.take():
        first, second = in_line(slots, cancellation), in_line(slots)
        cancellation.cancel()
        assert first.has.wait(WAIT)
        assert first.got is None
    assert second.has.wait(WAIT)


@pytest.mark.parametrize(
    ("held", "free"),
    [
        (ZERO, [ONE, TWO]),
        (Share(GpuRequest(("1", "2"))), [ZERO]),
        (Share(GpuRequest(("7",)), "3-4"), [ZERO]),
        (Share(cpuset="0"), [ONE, TWO]),
        (ALL, []),
        (Share(GpuRequest(("7",))), [ZERO, ONE, TWO]),
    ],
    ids=["the same", "more GPUs", "other CPUs", "CPUs only", "all GPUs", "another GPU"],
)
def test_what_a_run_of_an_earlier_process_has_is_given_to_nobody_until_that_lets_go(
    held: Share, free: list[Share], in_line: Callable[..., Waiting]
) -> None:
    slots = Slots([ZERO, ONE, TWO])
    slots.reserve("earlier", held)
    with ExitStack() as stack:
        assert [stack.enter_context(slots.take()) for _ in free] == free
        later = in_line(slots)
        with slots.take("earlier") as mine:
            assert mine == held
            assert not later.has.is_set()
        if len(free) < len(slots):
            assert later.has.wait(WAIT)
    with ExitStack() as stack:
        later.done.set()
        later.thread.join(WAIT)
        assert [stack.enter_context(slots.take()) for _ in range(3)] == [ZERO, ONE, TWO]


def test_what_is_released_is_free_and_may_be_released_again() -> None:
    slots = Slots([ZERO])
    slots.reserve("earlier", ZERO)
    slots.release("earlier")
    slots.release("earlier")
    with slots.take("earlier") as share:
        assert share == ZERO


def test_without_gpus_and_cpus_of_their_own_runs_are_only_counted() -> None:
    slots = Slots([Share(), Share()])
    with slots.take() as first, slots.take() as second:
        assert first == second == Share()
