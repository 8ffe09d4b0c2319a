"""Intake: takes run messages from the queue, and settles each when its run has ended.

The channel is transactional: putting a run back for another attempt publishes the copy and acknowledges
the original in one step, so that no moment leaves none or two.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.spec import Basic, BasicProperties

from worker.broker.connection import ConnectionParameters, basic_properties, ensure_queue
from worker.broker.delivery import ATTEMPTS_HEADER, Delivery
from worker.broker.link import AmqpLink, LinkDownError

_log = structlog.get_logger(__name__)


class Consumer:
    """Takes at most `prefetch` messages at a time, each handed to what `start` was given, on the link's thread.

    `on_taking` is called there whenever messages can come (again).
    """

    def __init__(
        self,
        settings: ConnectionParameters,
        queue: str,
        *,
        prefetch: int,
        on_refused: Callable[[str], None],
        on_taking: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_taking = on_taking
        self._queue = queue
        self._prefetch = prefetch
        self._on_delivery: Callable[[Delivery], None] = self.give_back
        self._connection: BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._epoch = 0
        self._taking = True
        self._link = AmqpLink(settings, self, name="intake", on_refused=on_refused)

    def start(self, on_delivery: Callable[[Delivery], None]) -> None:
        """Begins to connect, then to take."""
        self._on_delivery = on_delivery
        self._link.start()

    def close(self) -> None:
        """Ends the connection: what is unsettled returns to the queue."""
        self._link.close()

    def stop_taking(self) -> None:
        """Takes nothing new; what is in hand can still be settled."""
        self._taking = False
        self._call("stop taking", self._cancel)

    def ack(self, delivery: Delivery) -> None:
        """The run is over. Where the connection that it came by is gone, it will be delivered again."""
        self._settle("ack", delivery, lambda channel: channel.basic_ack(delivery.tag))

    def reject(self, delivery: Delivery) -> None:
        """No run: to the queue's dead-letter exchange if it has one, else discarded."""
        self._settle("reject", delivery, lambda channel: channel.basic_reject(delivery.tag, requeue=False))

    def give_back(self, delivery: Delivery) -> None:
        """Back to where it was in the queue, as if never taken."""
        self._settle("give back", delivery, lambda channel: channel.basic_nack(delivery.tag, requeue=True))

    def retry(self, delivery: Delivery) -> None:
        """To the end of the queue, one failed attempt more on its count."""
        self._settle("retry", delivery, lambda channel: self._republish(channel, delivery))

    def on_connected(self, connection: BlockingConnection) -> None:
        """Looks at the queue, and consumes."""
        ensure_queue(connection, self._queue)
        self._connection = connection
        self._consume()

    def on_events(self) -> None:
        """Where the broker closed our channel (its consumer timeout does) or ended our consumer, takes anew."""
        if self._channel and not self._channel.is_open:
            _log.warning("the broker closed the intake channel; unsettled messages will be delivered again")
            self._consume()
        elif self._channel and self._taking and not self._channel.consumer_tags:
            self._consume_again(self._channel)

    def _consume(self) -> None:
        assert self._connection  # noqa: S101 -- on_connected came first
        self._epoch += 1
        self._channel = channel = self._connection.channel()
        channel.tx_select()
        channel.basic_qos(prefetch_count=self._prefetch)
        if self._taking:
            channel.basic_consume(self._queue, self._on_message)
            self._on_taking()

    def _consume_again(self, channel: BlockingChannel) -> None:
        assert self._connection  # noqa: S101 -- on_connected came first
        _log.warning("the queue was deleted, with what was waiting in it; taking from it anew", queue=self._queue)
        ensure_queue(self._connection, self._queue)
        channel.basic_consume(self._queue, self._on_message)

    def _on_message(
        self, _channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        given = {name: value for name, value in vars(properties).items() if value is not None}
        headers = given.pop("headers", {})
        self._on_delivery(
            Delivery(method.delivery_tag or 0, self._epoch, bool(method.redelivered), body, headers, given)
        )

    def _cancel(self) -> None:
        if self._channel and self._channel.is_open:
            for tag in list(self._channel.consumer_tags):
                self._channel.basic_cancel(tag)
            self._channel.tx_commit()  # what was delivered but not yet handed out goes back

    def _republish(self, channel: BlockingChannel, delivery: Delivery) -> None:
        """A copy with every property kept, so that a worker of another make can take it over."""
        headers = {**delivery.headers, ATTEMPTS_HEADER: delivery.failed_attempts + 1}
        properties = basic_properties({**delivery.properties, "headers": headers})
        channel.basic_publish("", self._queue, delivery.body, properties)
        channel.basic_ack(delivery.tag)

    def _settle(self, how: str, delivery: Delivery, work: Callable[[BlockingChannel], object]) -> None:
        def on_thread() -> None:
            if self._channel and self._channel.is_open and delivery.epoch == self._epoch:
                work(self._channel)
                self._channel.tx_commit()
            else:
                _log.info("the broker has taken the message back; it will be delivered again", action=how)

        self._call(how, on_thread)

    def _call(self, how: str, work: Callable[[], None]) -> None:
        try:
            self._link.call(work)
        except LinkDownError:
            _log.warning("no broker connection; messages in hand will be delivered again", action=how)
