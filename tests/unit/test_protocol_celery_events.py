"""Events of real Celery workers, and ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol import celery_events
from protocol.celery_events import EVENT_EXCHANGE, Event, LamportClock, NodeLoad, encode
from tests.support import captured

VERSIONS = ["3.1.25", "4.4.6", "5.6.2", "5.7.0"]
LOAD = NodeLoad(period=10.0, active=1, processed=2, load=(0.123, 1.0, 2.0), version="0.1", system="Linux")

TOLD = {
    "worker-online": celery_events.worker_event("online", LOAD),
    "worker-heartbeat": celery_events.worker_event("heartbeat", LOAD),
    "worker-offline": celery_events.worker_event("offline", LOAD),
    "task-received": celery_events.task_received("an-id", "compute_worker_run", "[7]", 0),
    "task-started": celery_events.task_started("an-id"),
    "task-succeeded": celery_events.task_succeeded("an-id", 1.5),
    "task-failed": celery_events.task_failed("an-id", "Fault('no')", "no"),
    "task-revoked": celery_events.task_revoked("an-id", terminated=False),
    "task-revoked-terminated": celery_events.task_revoked("an-id", terminated=True),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_says_what_a_real_workers_says(version: str) -> None:
    for name, event in TOLD.items():
        sample = captured.load(f"event-{name}-celery{version}")
        theirs = sample.document[-1] if isinstance(sample.document, list) else sample.document
        message = encode(event, node="me@host", pid=5, clock=7)
        ours = json.loads(message.body)
        assert {key: _kind(ours.get(key)) for key in theirs} == {key: _kind(theirs[key]) for key in theirs}, name
        assert (ours["type"], ours["hostname"], ours["pid"], ours["clock"]) == (theirs["type"], "me@host", 5, 7)
        assert sample.exchange == EVENT_EXCHANGE
        expected = {**sample.properties, "delivery_mode": 1, "headers": dict.fromkeys(sample.headers, "me@host")}
        assert message.properties == expected, name
        assert sample.routing_key in {event.routing_key, "task.multi"}, name


@pytest.mark.parametrize("terminated", [False, True])
def test_a_cancelled_run_is_told_as_celery_tells_it(terminated: bool) -> None:
    sample = captured.load(f"event-task-revoked{'-terminated' if terminated else ''}-celery5.7.0").document[0]
    event = celery_events.task_revoked(sample["uuid"], terminated=terminated)
    assert event.fields == {key: sample[key] for key in ("uuid", "terminated", "signum", "expired")}


def test_the_time_is_that_of_the_event_and_not_of_its_sending() -> None:
    event = Event("task-started", {"uuid": "an-id"}, timestamp=12.5)
    assert json.loads(encode(event, node="n", pid=1, clock=1).body)["timestamp"] == 12.5


def test_a_clock_grows_with_each_message_and_past_those_seen() -> None:
    clock = LamportClock()
    assert [clock.tick(), clock.tick()] == [1, 2]
    clock.witness(40)
    assert clock.tick() == 42
    clock.witness(3)
    assert clock.tick() == 44


@pytest.mark.parametrize("nonsense", [None, "50", 5.5, -1, 2**63, 2**200, [1]])
def test_a_clock_leaves_nonsense_alone(nonsense: object) -> None:
    clock = LamportClock()
    clock.witness(nonsense)
    assert clock.value == 0


def _kind(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__
