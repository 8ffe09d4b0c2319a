"""Work shared by threads: who waits for whom, whose result is whose, and who may end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from sandbox.cancellation import Cancellation
from sandbox.errors import Cancelled
from sandbox.sharing import Shared

WAIT = 20.0


class Registry:
    """Work that a test holds up and lets go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.turns = 0
        self.fault: Exception | None = None
        self.cancelled = threading.Event()

    def work(self, cancellation: Cancellation) -> int:
        self.turns += 1
        turn = self.turns
        self.begun.release()
        with cancellation.stopping(self.go_on.set):
            assert self.go_on.wait(WAIT)
        try:
            cancellation.check()
        except Cancelled:
            self.cancelled.set()
            raise
        if self.fault:
            raise self.fault
        return turn


class Noticed(Cancellation):
    """Tells when somebody waits who can be cancelled by it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        with super().stopping(stop):
            self.waits.set()
            yield


class Wanted:
    def __init__(self) -> None:
        self.registry = Registry()
        self.shared: Shared[int] = Shared()
        self.pool = ThreadPoolExecutor(8)

    def ask(self, since: float, cancellation: Cancellation | None = None) -> Future[int]:
        return self.pool.submit(
            self.shared.result, "x", self.registry.work, since=since, cancellation=cancellation or Cancellation()
        )

    def begun(self) -> None:
        assert self.registry.begun.acquire(timeout=WAIT)


@pytest.fixture
def wanted() -> Wanted:
    return Wanted()


def test_one_turn_serves_all_who_began_before_it(wanted: Wanted) -> None:
    since = time.monotonic()
    first = wanted.ask(since)
    wanted.begun()
    others = [wanted.ask(since) for _ in range(3)]
    wanted.registry.go_on.set()
    assert {one.result(WAIT) for one in (first, *others)} == {1}
    assert wanted.ask(since).result(WAIT) == 1  # nor does it end with the work
    assert wanted.registry.turns == 1


def test_who_began_later_waits_and_shares_one_more_turn(wanted: Wanted) -> None:
    """What was pushed after the first turn began must be seen."""
    first = wanted.ask(time.monotonic())
    wanted.begun()
    later = [wanted.ask(time.monotonic()) for _ in range(4)]
    wanted.registry.go_on.set()
    assert first.result(WAIT) == 1
    assert {one.result(WAIT) for one in later} == {2}


def test_who_is_cancelled_leaves_and_the_others_have_it(wanted: Wanted) -> None:
    since, leaving = time.monotonic(), Cancellation()
    first = wanted.ask(since, leaving)
    wanted.begun()
    staying = Noticed()
    second = wanted.ask(since, staying)
    assert staying.waits.wait(WAIT)
    leaving.cancel()
    with pytest.raises(Cancelled):
        first.result(WAIT)
    wanted.registry.go_on.set()
    assert second.result(WAIT) == 1
    assert not wanted.registry.cancelled.is_set()


def test_the_work_ends_with_the_last_who_waits_and_then_begins_anew(wanted: Wanted) -> None:
    leaving = Cancellation()
    first = wanted.ask(time.monotonic(), leaving)
    wanted.begun()
    leaving.cancel()
    with pytest.raises(Cancelled):
        first.result(WAIT)
    assert wanted.registry.cancelled.wait(WAIT)
    assert wanted.ask(time.monotonic()).result(WAIT) == 2


def test_a_failure_is_told_to_all_who_wait_and_to_nobody_else(wanted: Wanted) -> None:
    since = time.monotonic()
    wanted.registry.fault = ValueError("away")
    first = wanted.ask(since)
    wanted.begun()
    wanted.registry.go_on.set()
    with pytest.raises(ValueError, match="away"):
        first.result(WAIT)
    wanted.registry.fault = None
    assert wanted.ask(since).result(WAIT) == 2
