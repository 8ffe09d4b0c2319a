"""Declares the durable queues that messages leave again by themselves: leases, and runs that wait for a retry."""

from __future__ import annotations

import structlog
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from worker.broker.lease_terms import CLASSIC, QUORUM, QueueForm

_ACCESS_REFUSED, _PRECONDITION_FAILED, _NOT_IMPLEMENTED = 403, 406, 540

_MEND = "let this user configure and read queues named <WORKER_QUEUE>.lease.* in the queue's virtual host"

_log = structlog.get_logger(__name__)


class QueueRefusedError(Exception):
    """The broker will not have such a queue, of neither kind, or not from this user; its words are the message."""


class ExpiringQueues:
    """Makes sure that such queues are there, again and again, on a channel that no message depends on.

    A publish to a queue that is not there would be lost in silence within a transaction (protocol facts, 7.2).
    """

    def __init__(self) -> None:
        self._channel: BlockingChannel | None = None
        self._kinds = [QUORUM, CLASSIC]

    def declare(self, connection: BlockingConnection, form: QueueForm) -> None:
        """Idempotent. Raises `QueueRefusedError`; the connection can still be used then."""
        reason = ""
        for kind in tuple(self._kinds):
            try:
                self._open(connection).queue_declare(form.name, durable=True, arguments=form.arguments(kind))
            except ChannelClosedByBroker as error:
                if error.reply_code not in {_ACCESS_REFUSED, _PRECONDITION_FAILED}:
                    raise
                reason = error.reply_text
            except ConnectionClosedByBroker as error:
                if error.reply_code == _NOT_IMPLEMENTED:
                    self._kinds = [CLASSIC]  # for the next connection
                raise
            else:
                return
        raise QueueRefusedError(reason)

    def may_have(self, connection: BlockingConnection, leases: QueueForm) -> bool:
        """Whether there can be such a lease queue, which is there then; where not, the log says what to mend."""
        try:
            self.declare(connection, leases)
        except QueueRefusedError as error:
            _log.warning("the broker refuses this worker a lease queue", reason=str(error), mend=_MEND)
            return False
        return True

    def _open(self, connection: BlockingConnection) -> BlockingChannel:
        if not self._channel or not self._channel.is_open or self._channel.connection is not connection:
            self._channel = connection.channel()
        return self._channel
