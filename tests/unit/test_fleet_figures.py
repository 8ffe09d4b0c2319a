"""A fleet's figures are worth something only if what went wrong is in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.fleet.figures import Phase, evenness
from tests.fleet.hosts import Usage
from tests.fleet.readings import Reading
from tests.fleet.span import Mark, Span
from tests.fleet.summary import phase_of, shared
from tests.fleet.workload import Kind
from tests.support.telling import Telling
from worker.broker.updates import Update

HOSTS = ("host-1", "host-2")
BEFORE = Reading(
    connections=8,
    channels=16,
    queues=5,
    consumers=5,
    messages_left=0,
    messages={"runs": Counter(publish=10), "site": Counter(publish=10)},
    octets={"runs": Counter({"in": 1000})},
    declared=10,
    cpu_before=1.0,
    cpu=1.5,
    memory=80_000_000,
    memory_by_use={},
    resident=90_000_000,
    peak_resident=95_000_000,
    files=50,
    erlang_processes=700,
)
AFTER = replace(
    BEFORE,
    messages={"runs": Counter(publish=14), "site": Counter(publish=14), "updates": Counter(publish=8)},
    octets={"runs": Counter({"in": 9000})},
    declared=14,
    cpu_before=1.9,
    cpu=2.5,
)
SPAN = Span(Mark(BEFORE, [Usage(60, 40, 1.0)] * 2, 0.0), Mark(AFTER, [Usage(60, 40, 1.2)] * 2, 30.0))


def told(host: str, at: float, status: str = "finished") -> Telling:
    return Telling(at, Update(1, status, {"metadata": {"hostname": host}}))


def phase(*ends: list[Telling], span: Span = SPAN) -> Phase:
    return phase_of(Kind.SCORED, ends, 10.0, HOSTS, span)


def test_what_it_cost_is_told_per_run_and_without_the_cost_of_asking() -> None:
    good = phase([told("host-1", 11.0)], [told("host-2", 12.0)], [told("host-1", 13.0)], [told("host-2", 14.0)])
    assert good.good
    assert (good.seconds, good.per_minute) == (4.0, 60.0)
    assert (good.runs_of_workers, good.evenness) == ((2, 2), 1.0)
    assert good.messages == {"runs": {"publish": 1.0}, "site": {"publish": 1.0}, "updates": {"publish": 2.0}}
    assert good.octets == {"runs": {"in": 2000.0}}
    assert good.declares == 1.0
    assert (good.broker_cpu, good.worker_cpu) == pytest.approx((0.1, 0.1))
    assert shared(good, 120.0).share_of_engine == 0.5


@pytest.mark.parametrize(
    ("ends", "what"),
    [
        ([[told("host-1", 11.0)], []], "lost"),
        ([[told("host-1", 11.0), told("host-2", 12.0)]], "duplicated"),
        ([[told("host-1", 11.0, "failed")]], "otherwise"),
    ],
)
def test_what_must_not_be_is_counted(ends: list[list[Telling]], what: str) -> None:
    bad = phase(*ends)
    assert getattr(bad, what) == 1
    assert not bad.good


def test_a_message_that_is_left_is_no_good_end() -> None:
    end = replace(SPAN.end, broker=replace(AFTER, messages_left=1))
    assert not phase([told("host-1", 11.0)], span=replace(SPAN, end=end)).good


def test_where_nothing_ended_everything_is_lost() -> None:
    bad = phase([], [])
    assert (bad.lost, bad.per_minute, bad.evenness) == (2, 0.0, 0.0)


def test_evenness_is_one_where_all_have_the_same_and_falls_to_one_of_n() -> None:
    assert evenness([5, 5, 5, 5]) == 1
    assert evenness([8, 0, 0, 0]) == 1 / 4
    assert evenness([0, 0]) == 0
