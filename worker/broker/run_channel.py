"""The transactional channel that runs are taken by, held on and settled on.

Taking, renewing and settling each are one transaction, and no moment of it leaves no copy of a message, or two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.spec import Basic, BasicProperties

from worker.broker.connection import basic_properties
from worker.broker.delivery import Delivery, Settlement
from worker.broker.lease_terms import LEASE_HEADER, LeaseTerms, lease_copy, retry_copy
from worker.broker.ledger import Hold
from worker.broker.queues import ExpiringQueues, QueueRefusedError


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it arrived. `lease` is the hold whose copy it says it is."""

    tag: int
    delivery: Delivery

    @property
    def lease(self) -> str:
        """Empty where it says none."""
        return str(self.delivery.headers.get(LEASE_HEADER, ""))


class RunChannel:
    """One channel's life; all of it on the link's thread. Raises pika's exceptions when that life ends."""

    def __init__(self, connection: BlockingConnection, terms: LeaseTerms, queues: ExpiringQueues) -> None:
        self._connection = connection
        self._terms = terms
        self._queues = queues
        self._channel: BlockingChannel = connection.channel()
        self._channel.tx_select()
        self._prefetch = 0
        self.was_consuming = False
        """True where it should be `consuming`: if it is not, the broker has ended that."""

    @property
    def is_open(self) -> bool:
        """False once the broker has closed it."""
        return bool(self._channel.is_open)

    @property
    def consuming(self) -> bool:
        """True while the broker has a consumer of ours."""
        return self.is_open and bool(self._channel.consumer_tags)

    def consume(self, on_message: Callable[[Received], None], *, prefetch: int) -> None:
        """Has the broker send messages of the run queue, `prefetch` at most that are not settled."""

        def called(_channel: object, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
            on_message(_received(method, properties, body))

        if prefetch != self._prefetch:
            self._channel.basic_qos(prefetch_count=prefetch)
            self._prefetch = prefetch
        self.was_consuming = True
        self._channel.basic_consume(self._terms.queue, called)

    def stop_consuming(self) -> None:
        """Nothing more is sent; what was sent but not handed out yet goes back with the next commit."""
        self.was_consuming = False
        for tag in list(self._channel.consumer_tags):
            self._channel.basic_cancel(tag)

    def commit(self) -> None:
        """Everything asked for since the last commit is done now, or nothing of it."""
        self._channel.tx_commit()

    def lease(self, swaps: Sequence[tuple[int, Delivery]]) -> None:
        """Puts a copy of each message into the lease queue in place of the delivery with that tag."""
        self._queues.declare(self._connection, self._terms.lease_queue)
        for tag, delivery in swaps:
            self._publish(self._terms.lease_queue.name, delivery, lease_copy(delivery))
            self._channel.basic_ack(tag)
        self.commit()

    def restore(self, deliveries: Sequence[Delivery]) -> None:
        """Puts copies into the lease queue whose earlier ones are gone with the queue itself."""
        self._queues.declare(self._connection, self._terms.lease_queue)
        for delivery in deliveries:
            self._publish(self._terms.lease_queue.name, delivery, lease_copy(delivery))
        self.commit()

    def fetch(self) -> Received | None:
        """The next copy out of the lease queue, now in our hands; None where there is none."""
        method, properties, body = self._channel.basic_get(self._terms.lease_queue.name)
        if method is None or properties is None or body is None:
            return None
        return _received(method, properties, body)

    def return_copy(self, tag: int) -> None:
        """That copy goes back to the run queue at once."""
        self._channel.basic_reject(tag, requeue=False)

    def drop_copy(self, tag: int) -> None:
        """That copy is not needed: there is another."""
        self._channel.basic_ack(tag)

    def settle(self, tag: int, hold: Hold) -> None:
        """Does with the message what its hold says."""
        match hold.settlement:
            case Settlement.REJECT if not hold.leased:  # a lease's dead letter is the run queue
                self._channel.basic_reject(tag, requeue=False)
            case Settlement.GIVE_BACK if hold.leased:
                self.return_copy(tag)
            case Settlement.GIVE_BACK:
                self._channel.basic_nack(tag, requeue=True)
            case Settlement.RETRY:
                self._publish(self._retry_queue(hold.delivery), hold.delivery, retry_copy(hold.delivery))
                self._channel.basic_ack(tag)
            case _:
                self._channel.basic_ack(tag)

    def _retry_queue(self, delivery: Delivery) -> str:
        """Where no waiting is to be had, the next attempt is at once."""
        form = self._terms.retry_queue(delivery)
        try:
            self._queues.declare(self._connection, form)
        except QueueRefusedError:
            return self._terms.queue
        return form.name

    def _publish(self, queue: str, delivery: Delivery, properties: dict[str, object]) -> None:
        self._channel.basic_publish("", queue, delivery.body, basic_properties(properties))


def _received(method: Basic.Deliver | Basic.GetOk, properties: BasicProperties, body: bytes) -> Received:
    given = {name: value for name, value in vars(properties).items() if value is not None}
    headers = given.pop("headers", {})
    exchange, key = str(method.exchange), str(method.routing_key)
    return Received(
        method.delivery_tag or 0, Delivery("", bool(method.redelivered), body, headers, given, exchange, key)
    )
