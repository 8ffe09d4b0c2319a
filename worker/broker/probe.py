"""Asking a broker what this account may do, without publishing or taking anything that is anybody else's.

Most questions are a request that is wrong in its last part: the broker looks at the permission first, then at what
is named, then at the arguments, so that its refusal tells which of them failed (seen on RabbitMQ 3.10). The lease
is tried for real, in queues of the probe's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import BasicProperties

from worker.broker.connection import BrokerRefusedError, ConnectionParameters, connect
from worker.broker.trouble import BrokerTroubleError

_REFUSED, _NOT_FOUND = 403, 404
_LEASE_PATIENCE = 5.0
_PROBE_EXPIRES = 60_000  # ms: what a probe that is killed leaves on the broker goes by itself


class Permission(StrEnum):
    """The broker's answer to a probe."""

    GRANTED = "granted"
    REFUSED = "refused"
    ABSENT = "absent"
    """What was named is not there, so that nothing is known of its permissions."""


@dataclass(frozen=True, slots=True)
class LeaseTrial:
    """A message that went through a lease queue. `clock` is the broker's epoch seconds at `asked_at` of ours."""

    quorum: bool
    clock: float
    asked_at: float


class LeaseRefusedError(Exception):
    """The broker does not let a lease queue be made or used, or the message did not come back."""


class Probe:
    """One connection to ask by; use it as the value of `probing`."""

    def __init__(self, connection: BlockingConnection) -> None:
        self._connection = connection

    @property
    def product(self) -> str:
        """What the broker calls itself, with its version."""
        server: dict[str, object] = self._connection._impl.server_properties  # type: ignore[attr-defined] # noqa: SLF001 -- pika hides it
        return f"{server.get('product', 'broker')} {server.get('version', '')}".strip()

    def may_consume(self, queue: str) -> Permission:
        """Whether messages may be taken from that queue; none is."""
        return self._ask(lambda channel: _consume_wrongly(channel, queue))

    def may_publish(self, exchange: str) -> Permission:
        """Whether messages may be published to that exchange; none is."""
        return self._ask(lambda channel: _publish_wrongly(channel, exchange))

    def may_declare(self, queue: str) -> Permission:
        """Whether a queue of that name, which is not there, may be made; it is not."""
        return self._ask(lambda channel: _declare_wrongly(channel, queue))

    def may_bind(self, name: str) -> Permission:
        """Whether exchange and queue of that name, which are there, may be declared and bound as they are."""
        return self._ask(lambda channel: _bind_again(channel, name))

    def queue_depth(self, queue: str) -> tuple[int, int] | None:
        """Messages that wait in it and its consumers; None where there is no such queue."""
        with suppress(ChannelClosedByBroker), _throw_away(self._connection) as channel:
            found = channel.queue_declare(queue, passive=True).method
            return found.message_count, found.consumer_count
        return None

    def try_lease(self) -> LeaseTrial:
        """Has a message expire in a lease queue of its own. Raises `LeaseRefusedError`."""
        try:
            return self._lease(quorum=True)
        except ChannelClosedByBroker as error:
            if error.reply_code == _REFUSED:
                raise LeaseRefusedError(error.reply_text) from error
        try:
            return self._lease(quorum=False)  # before 3.10 there is no dead-lettering that survives a restart
        except ChannelClosedByBroker as error:
            raise LeaseRefusedError(error.reply_text) from error

    def _lease(self, *, quorum: bool) -> LeaseTrial:
        lease = f"codalab-worker.check.{uuid4()}"
        with _throw_away(self._connection) as channel:
            target = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_declare(lease, durable=True, arguments=_lease_arguments(target, quorum=quorum))
            try:
                asked_at = time.time()
                channel.basic_publish("", lease, b"")
                return LeaseTrial(quorum, _time_of_death(channel, target), asked_at)
            finally:
                channel.queue_delete(lease)

    def _ask(self, question: Callable[[BlockingChannel], None]) -> Permission:
        try:
            with _throw_away(self._connection) as channel:
                question(channel)
        except ChannelClosedByBroker as error:
            answers = {_REFUSED: Permission.REFUSED, _NOT_FOUND: Permission.ABSENT}
            return answers.get(error.reply_code, Permission.GRANTED)
        return Permission.GRANTED


@contextmanager
def probing(settings: ConnectionParameters) -> Iterator[Probe]:
    """A connection for probes. Raises `BrokerTroubleError` for whatever goes wrong on it."""
    try:
        connection = connect(settings)
        try:
            yield Probe(connection)
        finally:
            with suppress(AMQPError, OSError):
                connection.close()
    except (AMQPError, OSError, BrokerRefusedError) as error:
        raise BrokerTroubleError(error) from error


@contextmanager
def _throw_away(connection: BlockingConnection) -> Iterator[BlockingChannel]:
    """A channel that the broker may close."""
    channel = connection.channel()
    try:
        yield channel
    finally:
        if channel.is_open:
            channel.close()


def _consume_wrongly(channel: BlockingChannel, queue: str) -> None:
    channel.basic_consume(queue, lambda *_: None, arguments={"x-priority": "probe"})


def _publish_wrongly(channel: BlockingChannel, exchange: str) -> None:
    channel.confirm_delivery()  # so that the refusal is waited for
    channel.basic_publish(exchange, exchange, b"", BasicProperties(expiration="probe"), mandatory=True)


def _declare_wrongly(channel: BlockingChannel, queue: str) -> None:
    channel.queue_declare(queue, durable=True, arguments={"x-message-ttl": "probe"})


def _bind_again(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, passive=True)
    channel.exchange_declare(name, "direct", passive=True)
    channel.exchange_declare(name, "direct", durable=True)
    channel.queue_bind(name, name, name)


def _lease_arguments(target: str, *, quorum: bool) -> dict[str, object]:
    arguments: dict[str, object] = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": target,
        "x-message-ttl": 0,
        "x-expires": _PROBE_EXPIRES,
    }
    if quorum:
        arguments |= {
            "x-queue-type": "quorum",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    return arguments


def _time_of_death(channel: BlockingChannel, queue: str) -> float:
    """When the broker gave the message up, in its own time, whole seconds."""
    for method, properties, _body in channel.consume(queue, auto_ack=True, inactivity_timeout=_LEASE_PATIENCE):
        if method is None or properties is None:
            raise LeaseRefusedError(f"a message that expired in a lease queue did not come back in {_LEASE_PATIENCE} s")
        return _died_at(properties)
    raise LeaseRefusedError("the broker ended the consumer of a queue of our own")


def _died_at(properties: BasicProperties) -> float:
    headers: Mapping[str, Any] = properties.headers or {}
    died: datetime = headers["x-death"][0]["time"]
    return died.timestamp()
