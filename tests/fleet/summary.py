"""From what was counted to figures: per worker, and per run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tests.fleet.figures import Gone, Idle, Phase, evenness
from tests.fleet.readings import Reading
from tests.fleet.span import SITE, Span, explained
from tests.fleet.workload import ENDS, Kind
from tests.support.telling import Telling


def idle_of(alone: Reading, with_them: Reading, span: Span) -> Idle:
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


def gone_of(alone: Reading, after: Reading, many: int) -> Gone:
    return Gone(
        queues=(after.queues - alone.queues) / many,
        erlang_processes=(after.erlang_processes - alone.erlang_processes) / many,
        broker_memory=(after.memory - alone.memory) / many,
    )


def phase_of(kind: Kind, told: Sequence[Sequence[Telling]], began: float, hosts: Sequence[str], span: Span) -> Phase:
    """`told` are the terminal statuses of each run, `hosts` the workers' names."""
    runs, first, broker = len(told), [ends[0] for ends in told if ends], span.end.broker
    seconds = max((one.at for one in first), default=span.end.at) - began
    counted = Counter(one.teller for one in first)
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


def shared(phase: Phase, engine: float) -> Phase:
    """With what part of the engine's own rate it reached, where it used the engine."""
    return replace(phase, share_of_engine=phase.per_minute / engine) if phase.kind == Kind.SCORED else phase
