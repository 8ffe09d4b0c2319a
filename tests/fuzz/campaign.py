"""Fuzzing of one target for a while; the first find ends it, and is made as small as it will go."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from tests.fuzz.mutations import mutated, smallest
from tests.fuzz.targets import Target

LONGEST = 10.0
"""Seconds that one input may take, on a machine that does other things, too."""


class TooSlow(Exception):
    """One input took longer than `LONGEST`."""


@dataclass(frozen=True, slots=True)
class Find:
    """The smallest input that was found to break a check, and how."""

    data: bytes
    error: Exception


@dataclass(frozen=True, slots=True)
class Campaign:
    """What came of it."""

    tried: int
    seconds: float
    find: Find | None


def fuzz(target: Target, seconds: float) -> Campaign:
    """Until something is found or the time is up; every seed as it stands comes first."""
    began, random, seeds = time.monotonic(), Random(), target.seeds()
    tried = 0
    for data in _inputs(random, seeds, began + seconds):
        tried += 1
        if find := attempt(target, data):
            return Campaign(tried, time.monotonic() - began, _small(target, find))
    return Campaign(tried, time.monotonic() - began, None)


def attempt(target: Target, data: bytes) -> Find | None:
    """One input."""
    try:
        with _alarm():
            target.check(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
        return Find(data, error)
    return None


def _inputs(random: Random, seeds: list[bytes], end: float) -> Iterator[bytes]:
    yield from seeds
    while time.monotonic() < end:
        yield mutated(random, seeds)


def _small(target: Target, find: Find) -> Find:
    def again(data: bytes) -> bool:
        found = attempt(target, data)
        return found is not None and type(found.error) is type(find.error)

    if isinstance(find.error, TooSlow):
        return find
    return attempt(target, smallest(find.data, again)) or find


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooSlow(f"took longer than {LONGEST:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
