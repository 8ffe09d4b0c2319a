"""A store that takes nothing is waited for, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from worker.run_control import InterruptedRunError
from worker.storage.errors import StoreUnavailable, UrlRefused
from worker.storage.patience import patiently


class Clock:
    """Time that passes in sleep only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        self.pauses: list[float] = []
        monkeypatch.setattr("tenacity.time.monotonic", lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def failing(times: float, error: Exception) -> Callable[[], None]:
    left = iter(range(int(times)))

    def upload() -> None:
        if next(left, None) is not None:
            raise error

    return upload


AWAY = StoreUnavailable("https://store/blob", "HTTP 503, after 5 attempts")


def test_one_that_comes_back_has_cost_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with capture_logs() as events:
        patiently(failing(6, AWAY), clock.sleep, what="output_url", patience=600)
    assert len(clock.pauses) == 6
    assert all(least <= pause <= least + 1 for least, pause in zip((1, 2, 4, 8, 16, 30), clock.pauses, strict=True))
    assert {(event["event"], event["slot"]) for event in events} == {
        ("waiting for the store to take results", "output_url")
    }


def test_one_that_does_not_come_back_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    began = clock.now
    with pytest.raises(StoreUnavailable):
        patiently(failing(1000, AWAY), clock.sleep, what="output_url", patience=600)
    assert 600 <= clock.now - began <= 600 + 31


def test_what_is_refused_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(UrlRefused):
        patiently(failing(1, UrlRefused("https://store/blob", "HTTP 403")), clock.sleep, what="x", patience=600)
    assert clock.pauses == []


def test_an_interruption_ends_the_wait() -> None:
    def interrupted(_seconds: float) -> None:
        raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        patiently(failing(1, AWAY), interrupted, what="x", patience=600)
