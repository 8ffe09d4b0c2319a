"""RabbitMQ as far as leases go, in memory and by a clock that a test moves: what protocol facts 7 measured of it.

Transactions, prefetch, a queue's TTL and dead letters, the return of what a lost connection held. A channel offers
what pika's `BlockingChannel` does, so that the worker's own `Holding` and `RunChannel` work on it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from pika.exceptions import StreamLostError
from pika.spec import Basic, BasicProperties

from worker.broker.delivery import LEASES

_RETRY = ".retry."


class Commit(Enum):
    """What becomes of the next transaction."""

    DONE = auto()
    LOST = auto()
    """The connection is gone before the broker has seen it."""
    UNKNOWN = auto()
    """It is done, but the connection is gone before the client is told."""


@dataclass(eq=False)
class Message:
    body: bytes
    properties: BasicProperties
    expires: float = math.inf
    redelivered: bool = False


@dataclass
class Queue:
    arguments: dict[str, Any]
    ready: deque[Message] = field(default_factory=deque)


class ModelBroker:
    """Its queues, and the connections to it. `now` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queues: dict[str, Queue] = {}
        self.connections: list[ModelConnection] = []
        self.failed: Counter[bytes] = Counter()
        """Messages by their body, and how often each was put off, or a lease on it has run out."""

    def publish(self, name: str, message: Message) -> None:
        if queue := self.queues.get(name):
            ttl = queue.arguments.get("x-message-ttl")
            self.failed[message.body] += _RETRY in name
            message.expires = math.inf if ttl is None else self.now + ttl / 1000
            queue.ready.append(message)

    def copies(self, body: bytes) -> int:
        """Messages with that body anywhere: ready, or in somebody's hands."""
        held = [one.message for connection in self.connections for one in connection.unsettled()]
        ready = [message for queue in self.queues.values() for message in queue.ready]
        return sum(message.body == body for message in (*held, *ready))

    def next_expiry(self) -> float:
        return min((message.expires for queue in self.queues.values() for message in queue.ready), default=math.inf)

    def expire(self) -> None:
        """Dead-letters what is over. A message that somebody holds is not."""
        for name, queue in list(self.queues.items()):
            for message in [one for one in queue.ready if one.expires <= self.now]:
                queue.ready.remove(message)
                self.failed[message.body] += LEASES in name
                self.dead_letter(name, message, "expired")

    def dead_letter(self, name: str, message: Message, reason: str) -> None:
        target = self.queues[name].arguments.get("x-dead-letter-routing-key")
        if target is not None:
            headers: dict[str, Any] = dict(message.properties.headers or {})
            headers["x-death"] = _counted(headers.get("x-death", []), name, reason)
            properties = BasicProperties(**{**vars(message.properties), "headers": headers})
            self.publish(target, Message(message.body, properties))


def _counted(deaths: list[dict[str, Any]], queue: str, reason: str) -> list[dict[str, Any]]:
    others = [one for one in deaths if (one["queue"], one["reason"]) != (queue, reason)]
    before = sum(one["count"] for one in deaths if one not in others)
    return [{"queue": queue, "reason": reason, "count": before + 1}, *others]


@dataclass
class Unsettled:
    queue: str
    message: Message
    consumed: bool


class ModelConnection:
    """A client's; `drop` is what a reset does."""

    def __init__(self, broker: ModelBroker) -> None:
        self.broker = broker
        self.is_open = True
        self.next_commit = Commit.DONE
        self._channels: list[ModelChannel] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        broker.connections.append(self)

    def channel(self) -> ModelChannel:
        self._channels.append(ModelChannel(self))
        return self._channels[-1]

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.broker.now + delay, next(self._numbers), callback))

    def next_timer(self) -> float:
        return self._timers[0][0] if self._timers else math.inf

    def run_timers(self) -> None:
        while self.is_open and self.next_timer() <= self.broker.now:
            heapq.heappop(self._timers)[-1]()

    def unsettled(self) -> list[Unsettled]:
        return [one for channel in self._channels for one in channel.unsettled.values()]

    def deliver(self) -> None:
        """Sends the consumers what they may have."""
        for channel in self._channels:
            channel.deliver()

    def drop(self) -> None:
        if self.is_open:
            self.is_open = False
            self.broker.connections.remove(self)
            for channel in self._channels:
                channel.lose()


class ModelChannel:
    """A transactional one."""

    def __init__(self, connection: ModelConnection) -> None:
        self.connection = connection
        self.unsettled: dict[int, Unsettled] = {}
        self._broker = connection.broker
        self._asked: list[Callable[[], None]] = []
        self._consumers: dict[str, tuple[str, Callable[..., None]]] = {}
        self._tags = itertools.count(1)
        self._prefetch = 1

    @property
    def is_open(self) -> bool:
        return self.connection.is_open

    @property
    def consumer_tags(self) -> list[str]:
        return list(self._consumers)

    def tx_select(self) -> None:
        """As every channel here is."""

    def tx_commit(self) -> None:
        fate, self.connection.next_commit = self.connection.next_commit, Commit.DONE
        if fate is not Commit.LOST:
            for action in self._asked:
                action()
        self._asked = []
        if fate is not Commit.DONE or not self.is_open:
            self.connection.drop()
            raise StreamLostError("the model says so")

    def queue_declare(self, queue: str, *, durable: bool = True, arguments: dict[str, Any] | None = None) -> None:
        assert durable
        self._broker.queues.setdefault(queue, Queue(arguments or {}))

    def basic_qos(self, *, prefetch_count: int) -> None:
        self._prefetch = prefetch_count

    def basic_consume(self, queue: str, callback: Callable[..., None]) -> None:
        self._consumers[f"consumer-{next(self._tags)}"] = queue, callback

    def basic_cancel(self, tag: str) -> None:
        del self._consumers[tag]

    def basic_publish(self, exchange: str, routing_key: str, body: bytes, properties: BasicProperties) -> None:
        assert not exchange
        self._asked.append(lambda: self._broker.publish(routing_key, Message(body, properties)))

    def basic_ack(self, tag: int) -> None:
        self._asked.append(lambda: self.unsettled.__delitem__(tag))

    def basic_reject(self, tag: int, *, requeue: bool) -> None:
        assert not requeue

        def reject() -> None:
            one = self._take_out(tag)
            self._broker.dead_letter(one.queue, one.message, "rejected")

        self._asked.append(reject)

    def basic_get(self, queue: str) -> tuple[Basic.GetOk | None, BasicProperties | None, bytes | None]:
        if not self.is_open:
            raise StreamLostError("the model says so")
        ready = self._broker.queues[queue].ready
        if not ready:
            return None, None, None
        message = ready.popleft()
        tag = self._hand_out(Unsettled(queue, message, consumed=False))
        return Basic.GetOk(tag, message.redelivered, "", queue, 0), message.properties, message.body

    def deliver(self) -> None:
        for queue, callback in list(self._consumers.values()):
            ready = self._broker.queues[queue].ready
            if ready and self.is_open and sum(one.consumed for one in self.unsettled.values()) < self._prefetch:
                message = ready.popleft()
                tag = self._hand_out(Unsettled(queue, message, consumed=True))
                method = Basic.Deliver("", tag, message.redelivered, "", queue)
                callback(self, method, message.properties, message.body)

    def lose(self) -> None:
        """What it held is back where it was, and what it asked for was never asked."""
        self._asked, self._consumers = [], {}
        for one in reversed(self.unsettled.values()):
            one.message.redelivered = True
            self._broker.queues[one.queue].ready.appendleft(one.message)
        self.unsettled = {}

    def _hand_out(self, one: Unsettled) -> int:
        tag = next(self._tags)
        self.unsettled[tag] = one
        return tag

    def _take_out(self, tag: int) -> Unsettled:
        return self.unsettled.pop(tag)
