"""What the watchdog does at once; what it does when time is up is in tests/integration/test_watchdog_clock.py."""

import threading

from sandbox.outcome import ExitReason
from tests.support.watched import Watched


def test_the_thread_goes_at_once_when_the_container_ends() -> None:
    watched = Watched()
    before = set(threading.enumerate())
    watched.watchdog.arm("c", time_limit=3600, grace=1)
    [watchdog] = {thread for thread in threading.enumerate() if thread.name == "watchdog"} - before
    watched.watchdog.ended()
    assert not watchdog.is_alive()


def test_it_can_be_asked_to_end_the_container_early_and_the_first_reason_stays() -> None:
    watched = Watched(ends_at="SIGTERM")
    watched.watchdog.arm("c", time_limit=3600, grace=1)
    watched.watchdog.end(ExitReason.STOPPED)
    watched.watchdog.end(ExitReason.TIME_LIMIT)
    assert watched.done.wait(20)
    assert watched.watchdog.cause is ExitReason.STOPPED


def test_asked_before_it_is_armed_it_ends_the_container_at_once() -> None:
    watched = Watched(ends_at="SIGTERM")
    watched.watchdog.end(ExitReason.STOPPED)
    watched.watchdog.arm("c", time_limit=3600, grace=1)
    assert watched.done.wait(20)


def test_asked_after_the_end_it_changes_nothing() -> None:
    watched = Watched()
    watched.watchdog.ended()
    watched.watchdog.end(ExitReason.STOPPED)
    assert watched.watchdog.cause is None
