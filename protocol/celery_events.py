"""Celery's events, as Flower and other monitors of Celery read them.

Facts behind each rule: protocol-facts.md 6, observed with Celery 3.1 to 5.7 and Flower 2.2. Each event is a message of
its own, as in Celery 3.1: later versions batch them, and every reader takes both.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.celery_envelope import Envelope

EVENT_EXCHANGE = "celeryev"
"""Topic, durable. With no monitor bound to it events vanish."""

_MAX_CLOCK = 1 << 53  # far from what an AMQP integer cannot hold, however high a stranger sets the clock


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `kind` is its type (`task-started`), `timestamp` epoch seconds, `fields` what is its own."""

    kind: str
    fields: Mapping[str, object] = field(default_factory=dict)
    timestamp: float = field(default_factory=time.time)

    @property
    def routing_key(self) -> str:
        """On `EVENT_EXCHANGE`."""
        return self.kind.replace("-", ".", 1)


class LamportClock:
    """Orders what several nodes send: grows by each message, and past any clock that is seen. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    @property
    def value(self) -> int:
        """As it stands."""
        return self._value

    def tick(self) -> int:
        """The clock of one more message of ours."""
        with self._lock:
            self._value += 1
            return self._value

    def witness(self, other: object) -> None:
        """Takes in the `clock` header of a message that was received; nonsense is left alone."""
        if isinstance(other, int) and 0 <= other < _MAX_CLOCK:
            with self._lock:
                self._value = max(self._value, other) + 1


def encode(event: Event, *, node: str, pid: int, clock: int) -> Envelope:
    """The event as that node's. `pid` is the worker's process; times are UTC, so that `utcoffset` is 0."""
    document = {
        **event.fields,
        "type": event.kind,
        "hostname": node,
        "timestamp": event.timestamp,
        "utcoffset": 0,
        "pid": pid,
        "clock": clock,
    }
    return Envelope(
        body=json.dumps(document, allow_nan=False).encode("ascii"),
        properties={
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "delivery_mode": 1,
            "priority": 0,
            "headers": {"hostname": node},
        },
    )


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What a worker tells of itself with each heartbeat; `period` is seconds from one to the next.

    A monitor takes a worker for dead when it has heard nothing for twice that time. `active` runs are in work,
    `processed` were taken since it started; `load` is the host's load average over 1, 5 and 15 minutes.
    """

    period: float
    active: int
    processed: int
    load: tuple[float, float, float]
    version: str
    system: str


def worker_event(what: str, node: NodeLoad) -> Event:
    """`worker-online`, `worker-heartbeat` or `worker-offline`."""
    return Event(
        f"worker-{what}",
        {
            "freq": node.period,
            "active": node.active,
            "processed": node.processed,
            "loadavg": [round(load, 2) for load in node.load],
            "sw_ident": "codalab-worker",
            "sw_ver": node.version,
            "sw_sys": node.system,
        },
    )


def task_received(uuid: str, name: str, args: str, retries: int) -> Event:
    """The worker has it in hand; `args` is text, and public: what the message held stays out of it."""
    fields = {"uuid": uuid, "name": name, "args": args, "kwargs": "{}", "retries": retries}
    return Event("task-received", {**fields, "root_id": uuid, "parent_id": None, "eta": None, "expires": None})


def task_started(uuid: str) -> Event:
    """Work has begun."""
    return Event("task-started", {"uuid": uuid})


def task_succeeded(uuid: str, runtime: float) -> Event:
    """It ended well, `runtime` seconds after it began; its result went to the site, and is None to Celery."""
    return Event("task-succeeded", {"uuid": uuid, "result": "None", "runtime": runtime})


def task_failed(uuid: str, exception: str, traceback: str) -> Event:
    """It ended otherwise: `exception` in a word and a sentence, `traceback` what a person is to read."""
    return Event("task-failed", {"uuid": uuid, "exception": exception, "traceback": traceback})


def task_retried(uuid: str, exception: str, traceback: str) -> Event:
    """Another attempt follows, of this worker or another."""
    return Event("task-retried", {"uuid": uuid, "exception": exception, "traceback": traceback})


def task_rejected(uuid: str) -> Event:
    """It is back in the queue, as if never taken."""
    return Event("task-rejected", {"uuid": uuid, "requeue": True})


def task_revoked(uuid: str, *, terminated: bool) -> Event:
    """It was cancelled: before it began, or (`terminated`) while it ran."""
    fields = {"terminated": terminated, "signum": 15 if terminated else None, "expired": False}
    return Event("task-revoked", {"uuid": uuid, **fields})
