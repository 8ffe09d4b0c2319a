"""The watchdog's times, by a real clock; against a real engine they are in test_watchdog.py."""

import time

import pytest
from structlog.testing import capture_logs

from sandbox.outcome import ExitReason
from tests.support.waiting import PATIENCE
from tests.support.watched import Watched

MOST = 5.0  # seconds that a stalled machine may be late; test_watchdog.py, which runs alone, is strict


def test_nothing_is_sent_to_a_container_that_ends_in_time() -> None:
    watched = Watched()
    watched.watchdog.arm("c", time_limit=10, grace=0.1)
    watched.watchdog.ended()
    assert watched.watchdog._thread
    assert not watched.watchdog._thread.is_alive()  # who would send something, now or later
    assert watched.sent == []
    assert watched.watchdog.cause is None


def test_sigterm_at_the_limit_is_enough_for_the_polite() -> None:
    watched = Watched(ends_at="SIGTERM")
    began = time.monotonic()
    watched.watchdog.arm("c", time_limit=0.1, grace=30)
    assert watched.done.wait(PATIENCE)
    assert watched.names == ["SIGTERM"]
    assert 0.1 <= watched.sent[0][1] - began < MOST
    assert watched.watchdog.cause is ExitReason.TIME_LIMIT


def test_sigkill_after_the_grace_for_the_others() -> None:
    watched = Watched(ends_at="SIGKILL")
    watched.watchdog.arm("c", time_limit=0.05, grace=0.15)
    assert watched.done.wait(PATIENCE)
    assert watched.names == ["SIGTERM", "SIGKILL"]
    assert 0.15 <= watched.sent[1][1] - watched.sent[0][1] < MOST


def test_a_kill_is_repeated_while_the_engine_errs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.watchdog._FIRST_PAUSE", 0.02)
    watched = Watched(ends_at="SIGKILL", failures=3)
    with capture_logs() as events:
        watched.watchdog.arm("c", time_limit=0, grace=0.05)
        assert watched.done.wait(PATIENCE)
    assert watched.names == ["SIGTERM", "SIGKILL", "SIGKILL", "SIGKILL"]
    assert [event["event"] for event in events] == ["signal not sent"] * 3


def test_the_output_is_let_go_where_a_kill_brings_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.watchdog._END_OF_OUTPUT", 0.2)
    watched = Watched()
    watched.watchdog.arm("c", time_limit=0, grace=0)
    assert watched.let_go.wait(PATIENCE)
    assert watched.names[:2] == ["SIGTERM", "SIGKILL"]
    watched.watchdog.ended()
