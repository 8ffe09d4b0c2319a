"""What `check` says of limits that were tried, and of who is told of them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from config.settings import Settings
from sandbox.limits_check import LimitsSeen
from sandbox.testing import FakeEngine
from worker.preflight import engine
from worker.preflight.engine import look_at_limits
from worker.preflight.lines import State

HELD = LimitsSeen(processes=True, cpu=True, memory=True)


@pytest.mark.parametrize(
    ("seen", "state", "words"),
    [
        (HELD, State.OK, "memory, processes and CPUs are held to"),
        (LimitsSeen(processes=True, cpu=True, memory=True, told=False), State.WARNING, "kernel's log cannot be read"),
        (LimitsSeen(processes=True, cpu=True, memory=False), State.FAILED, "more than it was given: memory"),
        (LimitsSeen(processes=False, cpu=False, memory=None), State.FAILED, "processes, CPUs"),
    ],
)
def test_limits_that_hold_are_to_be_told_too(
    monkeypatch: pytest.MonkeyPatch, seen: LimitsSeen, state: State, words: str
) -> None:
    monkeypatch.setattr(engine, "engine_of", lambda _settings: nullcontext(FakeEngine()))
    monkeypatch.setattr(engine, "try_limits", lambda _engine, *, runtime: seen if runtime is None else None)
    (line,) = look_at_limits(Settings())
    assert line.state is state
    assert words in line.found
