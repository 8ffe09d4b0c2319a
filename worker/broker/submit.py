"""Publishes a run message as a CodaLab site does, and listens for its updates on a queue of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError

from protocol import celery_envelope
from protocol.codalab import RUN_TASK, MessageFile
from worker.broker.connection import (
    BrokerRefusedError,
    ConnectionParameters,
    basic_properties,
    connect,
    ensure_queue,
)
from worker.broker.updates import Update, read_update


class BrokerUnreachableError(Exception):
    """The broker did not answer, or broke off; the message says where."""


@contextmanager
def connected(settings: ConnectionParameters) -> Iterator[BlockingConnection]:
    """A connection for one command. Raises `BrokerUnreachableError` for whatever goes wrong on it."""
    try:
        connection = connect(settings)
        try:
            yield connection
        finally:
            if connection.is_open:
                connection.close()
    except (AMQPError, OSError, BrokerRefusedError) as error:
        raise BrokerUnreachableError(f"broker {settings.host}:{settings.port}: {error!r}") from error


def publish(connection: BlockingConnection, queue: str, message: MessageFile) -> None:
    """Publishes the run with the envelope of Celery's protocol 1; returns when the broker has confirmed it."""
    envelope = celery_envelope.encode(
        RUN_TASK, (message.task_id, message.task_args), task_id=message.request.message_id
    )
    ensure_queue(connection, queue)
    with connection.channel() as channel:
        channel.confirm_delivery()
        channel.basic_publish(queue, queue, envelope.body, basic_properties(envelope.properties), mandatory=True)


class UpdateListener:
    """Sees every update that passes the exchange from now on, by a queue of its own: the site's loses nothing."""

    def __init__(self, connection: BlockingConnection, exchange: str) -> None:
        ensure_queue(connection, exchange)
        self._channel: BlockingChannel = connection.channel()
        # The owner of a queue may bind queues with this in their name only (protocol facts, section 3).
        self._queue = f"{exchange}.wait.{uuid4()}"
        self._channel.queue_declare(self._queue, exclusive=True, auto_delete=True)
        self._channel.queue_bind(self._queue, exchange, exchange)

    def updates(self, task_id: int | str) -> Iterator[Update]:
        """The updates of that task, as they come, until a terminal one."""
        for _method, _properties, body in self._channel.consume(self._queue, auto_ack=True):
            update = read_update(body)
            if update and update.task_id == task_id:
                yield update
                if update.terminal:
                    return
