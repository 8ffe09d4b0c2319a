"""A fleet from its start to its end: the engine alone, idle workers, runs of each kind, and what is counted of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.fleet.engine_rate import EngineRate, engine_rate
from tests.fleet.figures import Figures, Phase
from tests.fleet.hosts import Member, members, stop
from tests.fleet.place import Place
from tests.fleet.readings import Reading, read
from tests.fleet.site import Site, site
from tests.fleet.span import Mark, Span
from tests.fleet.summary import gone_of, idle_of, phase_of, shared
from tests.fleet.workload import Kind, Workload
from tests.support.competition import Submission
from worker.demo.places import say

_AGAIN = 0.25  # seconds between two readings
_TELL = 10.0  # seconds between two lines for whoever waits


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs of each kind, bare containers in all, seconds of idleness, and minutes that each kind has at most."""

    runs: Mapping[Kind, int]
    containers: int
    idle: float
    minutes: float


@dataclass(frozen=True, slots=True)
class Campaign:
    """One fleet, once."""

    plan: Plan
    place: Place
    site: Site
    rate: EngineRate
    workload: Workload

    def run(self) -> Figures:
        """All of it, in order. The engine is measured before and after the runs."""
        rates, alone = [self._engine()], self._mark([]).broker
        with members(self.place) as fleet:
            say("fleet", f"{len(fleet)} workers are connected")
            fresh = self._mark(fleet)
            phases = list(self._phases(fleet, fresh))
            idle = idle_of(alone, fresh.broker, self._idleness(fleet))
            codes = stop(fleet)
        gone = gone_of(alone, self._mark([]).broker, len(codes))
        rates.append(self._engine())
        done = tuple(shared(phase, sum(rates) / len(rates)) for phase in phases)
        return Figures(len(codes), tuple(rates), idle, done, gone, sum(map(bool, codes)))

    def _engine(self) -> float:
        rate = self.rate.measure(self.plan.containers // 2)
        say("fleet", f"the engine alone: {rate:.0f} containers a minute")
        return rate

    def _mark(self, fleet: Sequence[Member]) -> Mark:
        """Once everything so far is in the broker's statistics."""
        self.site.pause(self.place.statistics_delay)
        return Mark(self._reading(), [member.usage() for member in fleet], time.monotonic())

    def _reading(self) -> Reading:
        """Where statistics are quick, the first that the next one agrees with: a busy broker is behind with them."""
        found = read(self.place)
        while self.place.quick:
            self.site.pause(_AGAIN)
            before, found = found, read(self.place)
            if before.at_rest == found.at_rest:
                break
        return found

    def _idleness(self, fleet: Sequence[Member]) -> Span:
        """Once nobody looks any more for what an earlier life of his may have held."""
        say("fleet", f"{self.plan.idle:g} s of nothing to do")
        begin = self._mark(fleet)
        self.site.pause(self.plan.idle)
        return Span(begin, self._mark(fleet))

    def _phases(self, fleet: Sequence[Member], begin: Mark) -> Iterator[Phase]:
        hosts = [member.name for member in fleet]
        for kind, runs in self.plan.runs.items():
            if runs:
                submissions, began = [self.workload.run(kind) for _ in range(runs)], time.monotonic()
                self._work(kind, submissions)
                end = self._mark(fleet)
                told = [self.site.ends(one) for one in submissions]
                yield phase_of(kind, told, began, hosts, Span(begin, end))
                begin = end

    def _work(self, kind: Kind, submissions: Sequence[Submission]) -> None:
        say("fleet", f"{len(submissions)} runs that are to be {kind}, {self.plan.minutes:g} minutes at most")
        progress = _Progress(len(submissions))
        self.site.publish(submissions)
        self.site.wait(submissions, self.plan.minutes * 60, progress.tell)


class _Progress:
    """A line now and then."""

    def __init__(self, runs: int) -> None:
        self._began = self._told = time.monotonic()
        self._runs = runs

    def tell(self, ended: int) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL:
            self._told = now
            say("fleet", f"{now - self._began:.0f} s: {ended} of {self._runs} runs have ended")


def campaign(plan: Plan, place: Place) -> Figures:
    """A fleet in that place; everything but the place itself is gone afterwards."""
    with site(place) as ours:
        workload = Workload(place.competition)
        with engine_rate(place, workload.run(Kind.SCORED)) as rate:
            return Campaign(plan, place, ours, rate, workload).run()
