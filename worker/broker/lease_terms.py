"""The terms of leases on one queue: names, times, and the arguments of the queues behind them (protocol facts, 7).

A run in work is *leased*: a copy of its message lies, held by us, in our own lease queue, and expires back into the
queue where it came from when nobody has renewed it for the TTL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.broker.delivery import ATTEMPTS_HEADER, LEASES, Delivery

LEASE_HEADER = "x-codalab-worker-lease"
"""Names the hold whose copy a message is; means nothing to anybody else."""

_RENEWALS = 4  # in a TTL; so three quarters of it are left for a reconnect
_MARGIN = 8  # an eighth of the TTL before its end we count it as over: nobody else can have the run before that
_PAUSES = (8, 2)  # before the second and the third attempt: an eighth and half of the TTL
_USUAL_TTL = 120.0  # for pauses where there are no leases
_IDLE_DAYS = 7  # a lease queue that no worker has touched for so long is removed by the broker
_RETRY_IDLE = 24 * 3600.0

QUORUM: Mapping[str, object] = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
"""Loses no expired lease, whenever the broker restarts; RabbitMQ 3.10 and later."""
CLASSIC: Mapping[str, object] = {}
"""Elsewhere: the TTL must outlast a restart of the broker."""

# Properties and headers of a message that must not be published again: they would cut the lease short, have the
# broker refuse it because it is not ours, or send it to other queues as well.
_NOT_COPIED_PROPERTIES = {"expiration", "user_id"}
_NOT_COPIED_HEADERS = {LEASE_HEADER, "CC", "BCC"}


RETURNED_WITHIN = 45.0
"""Seconds, three heartbeats, in which a broker notices that our last connection is gone, and returns our copies."""


@dataclass(frozen=True, slots=True)
class QueueForm:
    """A durable queue whose messages are dead-lettered to `target` after `ttl` seconds.

    `idle` seconds without any use, and the broker removes it.
    """

    name: str
    target: str
    ttl: float
    idle: float

    def arguments(self, kind: Mapping[str, object]) -> dict[str, object]:
        """AMQP's arguments of its declaration, as a `QUORUM` or a `CLASSIC` queue."""
        return {
            **kind,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.target,
            "x-message-ttl": round(self.ttl * 1000),
            "x-expires": round(self.idle * 1000),
        }


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """`ttl` is in seconds, 0 where there are to be no leases; `worker_id` is the same after a restart."""

    queue: str
    worker_id: str
    ttl: float

    @property
    def lease_queue(self) -> QueueForm:
        """Of this worker alone. The TTL is in its name, for a queue's arguments cannot be changed."""
        name = f"{self.queue}{LEASES}{self.worker_id}.{self.ttl:g}s"
        return QueueForm(name, self.queue, self.ttl, max(_IDLE_DAYS * 86400.0, 100 * self.ttl))

    @property
    def period(self) -> float:
        """Seconds between two renewals."""
        return self.ttl / _RENEWALS

    @property
    def margin(self) -> float:
        """Seconds that a lease counts for less than its TTL."""
        return self.ttl / _MARGIN

    @property
    def trusted(self) -> float:
        """Seconds since its publishing for which a lease is surely ours, whatever has become of the connection."""
        return self.ttl - self.margin

    def retry_queue(self, delivery: Delivery) -> QueueForm:
        """Where that run waits for its next attempt; shared by all workers of the queue."""
        nth = min(delivery.counted_attempts, len(_PAUSES) - 1)
        pause = (self.ttl or _USUAL_TTL) / _PAUSES[nth]
        return QueueForm(f"{self.queue}.retry.{pause:g}s", self.queue, pause, _RETRY_IDLE + 100 * pause)


def lease_copy(delivery: Delivery) -> dict[str, object]:
    """The basic properties of the copy that is leased under the delivery's hold."""
    return _copy(delivery, {LEASE_HEADER: delivery.hold})


def retry_copy(delivery: Delivery) -> dict[str, object]:
    """The basic properties of the message with one failed attempt more on its count."""
    return _copy(delivery, {ATTEMPTS_HEADER: delivery.counted_attempts + 1})


def _copy(delivery: Delivery, headers: Mapping[str, object]) -> dict[str, object]:
    """All else is kept, so that a worker of another make can take the message over."""
    kept = {name: value for name, value in delivery.properties.items() if name not in _NOT_COPIED_PROPERTIES}
    told = {name: value for name, value in delivery.headers.items() if name not in _NOT_COPIED_HEADERS}
    return {**kept, "headers": {**told, **headers}}
