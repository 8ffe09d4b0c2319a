"""A fleet from its start to its end: the engine alone, idle workers, runs of each kind, and what is counted of them."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.fleet.engine_rate import EngineRate, engine_rate
from tests.fleet.figures import Figures, Gone, Idle, Phase, evenness
from tests.fleet.hosts import Member, members, stop
from tests.fleet.place import Place
from tests.fleet.readings import Reading, read
from tests.fleet.site import Site, Told, site
from tests.fleet.span import SITE, Mark, Span, explained
from tests.fleet.workload import ENDS, Kind, Workload
from tests.support.competition import Submission
from worker.demo.places import say

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
            idle = _idle(alone, fresh.broker, self._idleness(fleet))
            codes = stop(fleet)
        gone = _gone(alone, self._mark([]).broker, len(codes))
        rates.append(self._engine())
        shared = tuple(_shared(phase, sum(rates) / len(rates)) for phase in phases)
        return Figures(len(codes), tuple(rates), idle, shared, gone, sum(map(bool, codes)))

    def _engine(self) -> float:
        rate = self.rate.measure(self.plan.containers // 2)
        say("fleet", f"the engine alone: {rate:.0f} containers a minute")
        return rate

    def _mark(self, fleet: Sequence[Member]) -> Mark:
        """Once everything so far is in the broker's statistics."""
        self.site.pause(self.place.statistics_delay)
        return Mark(read(self.place), [member.usage() for member in fleet], time.monotonic())

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
                yield _phase(kind, told, began, hosts, Span(begin, end))
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


def _idle(alone: Reading, with_them: Reading, span: Span) -> Idle:
    """Per worker; `alone` is the broker before there were any, `with_them` when all had just connected."""
    many = len(span.end.used)
    messages, octets = span.messages(many * span.seconds), span.octets(many * span.seconds)
    return Idle(
        connections=(with_them.connections - alone.connections) / many,
        channels=(with_them.channels - alone.channels) / many,
        consumers=(with_them.consumers - alone.consumers) / many,
        queues=(with_them.queues - alone.queues) / many,
        erlang_processes=(with_them.erlang_processes - alone.erlang_processes) / many,
        files=(with_them.files - alone.files) / many,
        messages={link: counted for link, counted in messages.items() if link != SITE},
        octets={link: counted for link, counted in octets.items() if link != SITE},
        broker_memory=(with_them.memory - alone.memory) / many,
        broker_memory_by_use=explained(alone, with_them, many),
        broker_cpu=100 * span.broker_cpu / span.seconds / many,
        worker_cpu=100 * span.worker_cpu / span.seconds / many,
        worker_resident=span.resident,
        worker_proportional=span.proportional,
        broker_resident_alone=alone.resident,
    )


def _gone(alone: Reading, after: Reading, many: int) -> Gone:
    return Gone(
        queues=(after.queues - alone.queues) / many,
        erlang_processes=(after.erlang_processes - alone.erlang_processes) / many,
        broker_memory=(after.memory - alone.memory) / many,
    )


def _phase(kind: Kind, told: Sequence[Sequence[Told]], began: float, hosts: Sequence[str], span: Span) -> Phase:
    """`told` are the terminal statuses of each run, `hosts` the workers' names."""
    runs, first, broker = len(told), [ends[0] for ends in told if ends], span.end.broker
    seconds = max((one.at for one in first), default=math.inf) - began
    counted = Counter(one.host for one in first)
    shares = sorted(counted[host] for host in hosts)
    return Phase(
        kind=kind,
        runs=runs,
        lost=runs - len(first),
        duplicated=sum(len(ends) > 1 for ends in told),
        otherwise=sum(one.update.status != ENDS[kind] for one in first),
        messages_left=broker.messages_left,
        seconds=seconds,
        per_minute=60 * len(first) / seconds,
        runs_of_workers=tuple(shares),
        evenness=evenness(shares),
        messages=span.messages(runs),
        octets=span.octets(runs),
        declares=(broker.declared - span.begin.broker.declared) / runs,
        broker_cpu=span.broker_cpu / runs,
        worker_cpu=span.worker_cpu / runs,
        broker_memory=broker.memory,
        broker_resident=broker.resident,
        broker_peak_resident=broker.peak_resident,
        worker_resident=span.resident,
        worker_proportional=span.proportional,
    )


def _shared(phase: Phase, engine: float) -> Phase:
    """With what part of the engine's own rate it reached, where it used the engine."""
    return replace(phase, share_of_engine=phase.per_minute / engine) if phase.kind == Kind.SCORED else phase
