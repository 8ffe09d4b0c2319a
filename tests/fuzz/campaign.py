"""Fuzzing of one target for a while: rounds of Hypothesis, each with seeds of its own, a find shrunk and kept."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.mutations import inputs
from tests.fuzz.targets import Target

LONGEST = 5.0
"""Seconds that one input may take, on a machine that does other things, too."""

_ROUND = 500
_PHASES = (Phase.generate, Phase.shrink)


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
    began, tried = time.monotonic(), 0
    seeds = target.seeds()
    found = next((find for data in seeds if (find := attempt(target, data))), None)
    while found is None and time.monotonic() - began < seconds:
        tried += _ROUND
        found = _round(target, seeds)
    return Campaign(tried + len(seeds), time.monotonic() - began, found)


def attempt(target: Target, data: bytes) -> Find | None:
    """One input."""
    try:
        with _alarm():
            target.check(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
        return Find(data, error)
    return None


def _round(target: Target, seeds: list[bytes]) -> Find | None:
    finds: list[Find] = []

    @seed(time.monotonic_ns())
    @settings(max_examples=_ROUND, deadline=None, database=None, phases=_PHASES, suppress_health_check=list(HealthCheck))
    @given(inputs(seeds))
    def run(data: bytes) -> None:
        if find := attempt(target, data):
            finds.append(find)
            raise find.error

    try:
        run()
    except Exception:  # noqa: BLE001 - the last find is the one that it was shrunk to
        return finds[-1]
    return None


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
