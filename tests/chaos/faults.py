"""What happens to the workers: each fault a function, with how often it is drawn and how it is undone."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random

from tests.chaos.fleet import Member
from tests.chaos.place import Place
from tests.support.bad_store import Answer, Fault, Hold

Undo = Callable[[], None]


class Agenda:
    """What is to be done later, in order of time."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Undo]] = []
        self._number = itertools.count()

    def after(self, seconds: float, action: Undo) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._number), action))

    def run_due(self, *, everything: bool = False) -> None:
        while self._due and (everything or self._due[0][0] <= time.monotonic()):
            heapq.heappop(self._due)[-1]()


@dataclass
class Mischief:
    """Everything that a fault needs to strike."""

    place: Place
    members: list[Member]
    random: Random
    ttl: float
    agenda: Agenda = field(default_factory=Agenda)

    def member(self) -> Member:
        return self.random.choice(self.members)

    def undo_within(self, most: float, action: Undo) -> None:
        self.agenda.after(self.random.uniform(0.05, most), action)


def kill(at: Mischief) -> bool:
    """kill -9; the next life begins at once, within the lease, or (one in five) when the lease is over."""
    member = at.member()
    if not member.kill():
        return False
    late = at.random.random() < 0.2
    at.agenda.after(at.ttl * (1.3 if late else at.random.uniform(0, 0.4)), member.start)
    return True


def cut_intake(at: Mischief) -> bool:
    """The runs' vhost cannot be reached for a while, the updates' can."""
    return _bar(at, at.place.owner.vhost)


def cut_updates(at: Mischief) -> bool:
    """The other way round."""
    return _bar(at, "/")


def reset(at: Mischief) -> bool:
    """Every connection of a worker is broken, and welcome again at once."""
    at.member().proxy.reset()
    return True


def black_hole(at: Mischief) -> bool:
    """Nothing arrives, and nobody is told."""
    proxy = at.member().proxy
    proxy.black_hole()
    at.undo_within(at.ttl / 3, proxy.let_through)
    return True


def store_errors(at: Mischief) -> bool:
    """For a while every other request is answered 503, reset or cut short."""
    answers: list[Answer] = [HTTPStatus.SERVICE_UNAVAILABLE, Fault.RESET, Fault.CUT]
    dice = Random(at.random.random())  # noqa: S311 -- of the store's threads
    at.place.store.otherwise = lambda: dice.choice([Fault.NONE, Fault.NONE, Fault.NONE, *answers])
    at.undo_within(4.0, lambda: _good_again(at))
    return True


def store_silence(at: Mischief) -> bool:
    """For a while no request is answered."""
    hold = Hold()

    def over() -> None:
        _good_again(at)
        hold.let_go.set()

    at.place.store.otherwise = lambda: hold
    at.undo_within(4.0, over)
    return True


def restart_broker(at: Mischief) -> bool:
    """Cleanly."""
    with at.place.broker.stopped():
        time.sleep(at.random.uniform(0, at.ttl / 8))
    return True


def restart_engine(at: Mischief) -> bool:
    """With all that runs in it."""
    if at.place.engine is None:
        return False
    at.place.engine.restart()
    return True


OFTEN: Mapping[Callable[[Mischief], bool], int] = {
    kill: 6,
    cut_intake: 3,
    cut_updates: 3,
    reset: 3,
    black_hole: 1,
    store_errors: 2,
    store_silence: 1,
}
"""Drawn one after another, by their weights."""
RARE: tuple[Callable[[Mischief], bool], ...] = (restart_broker, restart_engine, restart_broker, restart_engine)
"""At even distances over the whole."""


def _bar(at: Mischief, vhost: str) -> bool:
    proxy = at.member().proxy
    proxy.bar(vhost)
    at.undo_within(at.ttl / 2, proxy.let_through)
    return True


def _good_again(at: Mischief) -> None:
    at.place.store.otherwise = lambda: Fault.NONE
