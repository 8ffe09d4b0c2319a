"""When a watch looks, by a clock of the test's own."""

import threading
from pathlib import Path

import pytest

from sandbox import watch
from sandbox.errors import EngineUnreachable
from sandbox.outcome import ExitReason
from sandbox.usage import Usage
from sandbox.watch import _Gauge, _Turn

MIB = 1 << 20


class World:
    """The clock and the disk; each look takes `cost` seconds and finds `held` bytes, of which 100 MiB may be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.cost = 0.001
        self.free = 10_000 * MIB
        self.held = 0
        self.looks: list[float] = []
        self.error: Exception | None = None
        monkeypatch.setattr("sandbox.watch.time.monotonic", lambda: self.now)
        monkeypatch.setattr(watch, "_free", lambda _place: self.free)
        gauge = _Gauge(self.look, self.broken, 100 * MIB, Path("/"))
        self.turn = _Turn(gauge)

    def look(self) -> Usage:
        self.looks.append(self.now)
        self.now += self.cost
        if self.error:
            raise self.error
        return Usage(self.held)

    def broken(self, held: Usage) -> ExitReason | None:
        return ExitReason.OUTPUT_LIMIT if held.size > 100 * MIB else None

    def pass_time(self, seconds: float) -> ExitReason | None:
        """Ticks for so long, or until a limit is broken."""
        end = self.now + seconds
        while self.now < end:
            if self.turn.is_due() and (reason := self.turn.take()):
                return reason
            self.now += 0.25
        return None


def test_at_each_turn_it_glances_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_TICK", 0.001)
    glances = threading.Semaphore(0)
    watched = watch.Watch((), lambda _reason: None)
    watched.start()
    watched.add_glance(glances.release)
    assert all(glances.acquire(timeout=20) for _ in range(3))
    watched.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_what_is_quick_is_looked_at_every_second(world: World) -> None:
    world.pass_time(60)
    assert 48 <= len(world.looks) <= 60


def test_what_takes_long_never_takes_more_than_a_twentieth_of_the_time(world: World) -> None:
    world.cost = 4.0
    world.pass_time(1000)
    assert 10 <= len(world.looks) <= 13


def test_a_disk_that_loses_what_is_left_of_the_limit_is_looked_at_at_once(world: World) -> None:
    world.cost, world.held = 4.0, 60 * MIB
    world.pass_time(20)  # one look, and a long pause ahead
    assert len(world.looks) == 1
    world.free -= 39 * MIB
    world.pass_time(2)
    assert len(world.looks) == 1
    world.free -= 2 * MIB
    world.held += 41 * MIB
    assert world.pass_time(2) is ExitReason.OUTPUT_LIMIT


def test_a_disk_that_somebody_else_fills_does_not_make_it_look_all_the_time(world: World) -> None:
    world.cost = 4.0
    end = world.now + 1000
    while world.now < end:
        world.free -= 200 * MIB
        world.pass_time(1)
    assert len(world.looks) * world.cost <= 1000 / 3


def test_an_engine_that_does_not_answer_is_no_excess(world: World) -> None:
    world.error = EngineUnreachable("restarting")
    assert world.pass_time(10) is None
    assert world.looks
