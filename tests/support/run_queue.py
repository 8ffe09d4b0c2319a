"""A queue of run messages, spoken to without Celery: messages that no site would send, and where they end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.support.rabbit import Management, Owner

DEAD = "dead-letters"


def run_message(args: object, **changes: object) -> bytes:
    """Celery's task protocol 1 with these arguments, and with what else a test changes (None is null)."""
    whole = {"task": "compute_worker_run", "id": str(uuid4()), "args": args, "kwargs": {}}
    return json.dumps({**whole, **changes}).encode()


class RunQueue:
    """One queue in an owner's vhost; each call has a connection of its own, for tests are slow to come back."""

    def __init__(self, owner: Owner, name: str) -> None:
        self.owner = owner
        self.name = name
        self._parameters = pika.URLParameters(owner.broker_url.replace("pyamqp://", "amqp://"))

    def declare(self) -> None:
        """As a site does before it publishes."""
        with self._channel() as channel:
            channel.queue_declare(self.name, durable=True)

    def publish(self, body: bytes, *, headers: Mapping[str, object] | None = None, **properties: str | None) -> None:
        """`properties` are AMQP's; content type and encoding are those of a site unless given (None: left out)."""
        given = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
        with self._channel() as channel:
            channel.confirm_delivery()
            made = pika.BasicProperties(headers=dict(headers or {}), delivery_mode=2, **given)  # type: ignore[arg-type]
            channel.basic_publish("", self.name, body, made, mandatory=True)

    def count(self) -> int:
        """Messages that wait, those given back included; not those in a worker's hands."""
        with self._channel() as channel:
            return int(channel.queue_declare(self.name, passive=True).method.message_count)

    def give_dead_letter_exchange(self, management: Management) -> None:
        """As an operator's policy does; to be called before the queue is there."""
        definition: dict[str, object] = {
            "pattern": f"^{self.name}$",
            "definition": {"dead-letter-exchange": DEAD},
            "apply-to": "queues",
        }
        management.put(f"policies/{self.owner.vhost}/dead-letters", definition)
        with self._channel() as channel:
            channel.exchange_declare(DEAD, "fanout", durable=True)
            channel.queue_declare(DEAD, durable=True)
            channel.queue_bind(DEAD, DEAD)

    def await_dead(self, body: bytes, timeout: float = 60.0) -> None:
        """Waits for a dead letter with that body, rejected from this queue and no other."""
        with self._channel() as channel:
            for method, properties, found in channel.consume(DEAD, inactivity_timeout=timeout):
                if method is None or properties is None:
                    raise TimeoutError(f"no such dead letter within {timeout} s")
                channel.basic_ack(method.delivery_tag or 0)
                headers: dict[str, Any] = dict(properties.headers or {})
                assert (headers["x-first-death-queue"], headers["x-first-death-reason"]) == (self.name, "rejected")
                if found == body:
                    return

    def count_dead(self) -> int:
        with self._channel() as channel:
            return int(channel.queue_declare(DEAD, passive=True).method.message_count)

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        connection = pika.BlockingConnection(self._parameters)
        try:
            yield connection.channel()
        finally:
            connection.close()
