"""A worker's intake by itself, with nobody behind it: what it takes is only noted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from queue import Empty, SimpleQueue
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from protocol.broker_url import parse
from tests.support.waiting import PATIENCE, wait_until
from worker.broker.connection import parameters
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.lease_terms import LeaseTerms


class NotingTaker:
    """What was handed out, and what was lost."""

    def __init__(self) -> None:
        self.when: dict[str, float] = {}
        """By the monotonic clock, and by its hold, when the latest was heard of each."""
        self.taken: SimpleQueue[Delivery] = SimpleQueue()
        self.gone: SimpleQueue[Delivery] = SimpleQueue()
        self.room = 1000
        """Runs that could be begun at once."""

    def is_run(self, _delivery: Delivery) -> bool:
        return True

    def on_delivery(self, delivery: Delivery) -> None:
        self.room -= 1
        self.when[delivery.hold] = time.monotonic()
        self.taken.put(delivery)

    def lost(self, delivery: Delivery) -> None:
        self.when[delivery.hold] = time.monotonic()
        self.gone.put(delivery)

    def take(self, count: int, timeout: float = PATIENCE) -> list[Delivery]:
        """The next so many that are handed out."""
        return [self.taken.get(timeout=timeout) for _ in range(count)]

    def takes_nothing_for(self, seconds: float) -> bool:
        try:
            self.taken.get(timeout=seconds)
        except Empty:
            return True
        return False


class Bench:
    """A run queue of its own on some broker; messages are plain numbers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.queue = f"runs-{uuid4().hex[:8]}"

    @contextmanager
    def consumer(
        self, ttl: float, *, slots: int = 1, worker_id: str = "one", url: str | None = None
    ) -> Iterator[tuple[Consumer, NotingTaker]]:
        settings = parameters(parse(url or self.url), name="test", ca_file=None, verify=True)
        taker = NotingTaker()
        consumer = Consumer(settings, self.terms(ttl, worker_id), slots=slots, on_refused=_refused)
        consumer.start(taker)
        try:
            yield consumer, taker
        finally:
            consumer.close()

    def terms(self, ttl: float, worker_id: str = "one") -> LeaseTerms:
        return LeaseTerms(self.queue, worker_id, ttl)

    def publish(self, bodies: Sequence[object], **properties: object) -> None:
        with self.channel() as channel:
            channel.queue_declare(self.queue, durable=True)
            channel.confirm_delivery()
            for body in bodies:
                made = pika.BasicProperties(delivery_mode=2, **properties)  # type: ignore[arg-type]
                channel.basic_publish("", self.queue, json.dumps(body).encode(), made, mandatory=True)

    def ready(self, queue: str | None = None) -> int:
        """Messages that nobody holds."""
        with self.channel() as channel:
            return int(channel.queue_declare(queue or self.queue, passive=True).method.message_count)

    def wait_until_ready(self, count: int, queue: str | None = None) -> None:
        """What goes back into a queue, by a dead letter or a connection's end, is there a moment later."""
        wait_until(lambda: self.ready(queue) == count, lambda: f"{self.ready(queue)} are ready, not {count}")

    def exists(self, queue: str) -> bool:
        try:
            return self.ready(queue) >= 0
        except ChannelClosedByBroker:
            return False

    def next(self, timeout: float = PATIENCE) -> tuple[pika.BasicProperties, bytes]:
        """Takes the next message as any other client does."""
        with self.channel() as channel:
            for method, properties, body in channel.consume(self.queue, inactivity_timeout=timeout):
                assert method, f"nothing came within {timeout} s"
                assert properties
                channel.basic_ack(method.delivery_tag or 0)
                return properties, body or b""
        raise AssertionError("consuming ended by itself")

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        with closing(pika.BlockingConnection(pika.URLParameters(self.url.replace("pyamqp:", "amqp:")))) as connection:
            yield connection.channel()


def wait_until_settled(consumer: Consumer) -> None:
    """Hundreds of settlements take longer on a busy machine than a consumer's end waits for them."""
    wait_until(lambda: not consumer.leases, lambda: f"{consumer.leases} are not settled")


def _refused(reason: str) -> None:
    raise AssertionError(reason)


def number(delivery: Delivery) -> int:
    return int(json.loads(delivery.body))
