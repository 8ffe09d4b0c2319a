"""Celery's remote control and events: one connection of their own, off the path of any run.

Nothing of it is needed to work runs. A virtual host that forbids some of it costs one warning, and the rest is done.
Without publisher confirms: no reply or event is worth waiting for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import structlog
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from protocol import celery_control, celery_events
from protocol.celery_control import INBOX_ARGUMENTS, REPLY_EXCHANGE, REQUEST_EXCHANGE, ControlRequestError
from protocol.celery_envelope import Envelope
from protocol.celery_events import EVENT_EXCHANGE, LamportClock
from worker.broker.connection import BrokerRefusedError, ConnectionParameters, basic_properties
from worker.broker.control_commands import NO_REPLY, Commands
from worker.broker.events import PERIOD, WorkerEvents
from worker.broker.link import AmqpLink, LinkDownError

_PREFETCH = 8  # requests in hand at a time, so that a flood of them waits in the broker
_FAREWELL = 1.0  # seconds that the end waits for the broker

_log = structlog.get_logger(__name__)


class RemoteControl:
    """A node among Celery's workers. `names` are those that it may have, the last one being nobody else's.

    The inbox is exclusive, which makes the broker the judge of whether a name is taken: two nodes that shared an inbox
    would each see half of the requests. A node that has its name keeps it.
    """

    def __init__(
        self,
        settings: ConnectionParameters,
        names: Sequence[str],
        commands: Commands,
        events: WorkerEvents,
        clock: LamportClock,
        *,
        pid: int,
    ) -> None:
        self._names = tuple(names)
        self._node = self._names[-1]
        self._commands = commands
        self._events = events
        self._clock = clock
        self._pid = pid
        self._was_listening = self._blocked = False
        self._inbox: BlockingChannel | None = None
        self._outlets: dict[str, BlockingChannel] = {}
        self._link = AmqpLink(settings, self, name="control", on_refused=self._give_up)

    def start(self) -> None:
        """Begins to connect; events are told from then on."""
        self._events.start(self._wake)
        self._link.start()

    def close(self) -> None:
        """Tells that the worker goes offline, and ends the connection."""
        self._events.tell_worker("offline")
        self._link.close(timeout=_FAREWELL)

    def on_connected(self, connection: BlockingConnection) -> None:
        """Opens what the broker allows: the inbox, and the exchanges of replies and events."""
        openings = (
            partial(self._open_inbox, connection),
            partial(self._open_outlet, connection, REPLY_EXCHANGE, "direct", durable=False),
            partial(self._open_outlet, connection, EVENT_EXCHANGE, "topic", durable=True),
        )
        refusals = "; ".join(reason for opening in openings if (reason := _refusal(opening)))
        if not self._listening and EVENT_EXCHANGE not in self._outlets:
            raise BrokerRefusedError(refusals)
        if refusals:
            _work_without(refusals)
        self._events.tell_worker("online")
        connection.call_later(PERIOD, lambda: self._beat(connection))

    def on_events(self) -> None:
        """Publishes what waits, and looks after the channels: an inbox that was deleted is made anew."""
        for exchange, outlet in list(self._outlets.items()):
            if not outlet.is_open:
                del self._outlets[exchange]
                _work_without(f"the broker closed the channel to {exchange}")
        if self._inbox and not self._inbox.is_open:
            self._inbox = None
            _work_without("the broker closed the channel of the inbox")
        elif self._inbox and not self._inbox.consumer_tags:
            _refusal(partial(self._consume, self._inbox, self._node))
        self._flush()

    def on_disconnected(self) -> None:
        """Events wait for the next connection."""
        self._inbox, self._outlets, self._blocked = None, {}, False

    def on_blocked(self, *, blocked: bool) -> None:
        """Events wait until the broker takes them; the next heartbeat takes them along."""
        self._blocked = blocked

    @property
    def _listening(self) -> bool:
        return self._inbox is not None

    def _open_inbox(self, connection: BlockingConnection) -> None:
        """Under the first name that is free. Raises what the broker says of the last one."""
        for name in self._names[:-1]:
            with suppress(ChannelClosedByBroker):
                self._listen(connection, name)
                return
        self._listen(connection, self._names[-1])

    def _listen(self, connection: BlockingConnection, name: str) -> None:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=_PREFETCH)
        self._consume(channel, name)
        self._inbox, self._node, self._names, self._was_listening = channel, name, (name,), True
        _log.info("listening for remote control", node=name)

    def _consume(self, channel: BlockingChannel, node: str) -> None:
        inbox = celery_control.inbox(node)
        channel.exchange_declare(REQUEST_EXCHANGE, "fanout", durable=False)
        channel.queue_declare(inbox, exclusive=True, auto_delete=True, arguments=INBOX_ARGUMENTS)
        channel.queue_bind(inbox, REQUEST_EXCHANGE)
        channel.basic_consume(inbox, self._on_request)

    def _open_outlet(self, connection: BlockingConnection, exchange: str, kind: str, *, durable: bool) -> None:
        channel = connection.channel()
        channel.exchange_declare(exchange, kind, durable=durable)
        self._outlets[exchange] = channel

    def _on_request(
        self, channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        channel.basic_ack(method.delivery_tag or 0)
        self._clock.witness((properties.headers or {}).get("clock"))
        try:
            request = celery_control.decode(body)
        except ControlRequestError as error:
            _log.warning("remote control request ignored", reason=str(error))
            return
        if not request.concerns(self._node):
            return
        result = self._commands.answer(request, self._node)
        if request.reply_key is not None and result is not NO_REPLY:
            clock = self._clock.tick()
            reply = celery_control.encode_reply(self._node, result, ticket=request.ticket, clock=clock)
            self._publish(REPLY_EXCHANGE, request.reply_key, reply)

    def _beat(self, connection: BlockingConnection) -> None:
        """Also asks again for an inbox that was lost: until the broker notices, a dead connection holds our name."""
        self._events.tell_worker("heartbeat")
        if self._was_listening and not self._listening:
            _refusal(partial(self._open_inbox, connection))
        connection.call_later(PERIOD, lambda: self._beat(connection))

    def _wake(self) -> None:
        with suppress(LinkDownError):
            self._link.call(self._flush)

    def _flush(self) -> None:
        if self._blocked:
            return
        for event in self._events.take():
            message = celery_events.encode(event, node=self._node, pid=self._pid, clock=self._clock.tick())
            self._publish(EVENT_EXCHANGE, event.routing_key, message)

    def _publish(self, exchange: str, key: str, message: Envelope) -> None:
        outlet = self._outlets.get(exchange)
        if outlet and outlet.is_open:
            with suppress(ChannelClosedByBroker):  # `on_events` sees that it is closed
                outlet.basic_publish(exchange, key, message.body, basic_properties(message.properties))

    def _give_up(self, reason: str) -> None:
        self._events.stop()
        _work_without(reason)


def _refusal(opening: Callable[[], None]) -> str:
    """What the broker has against it, empty where nothing."""
    try:
        opening()
    except ChannelClosedByBroker as refusal:
        return str(refusal.reply_text)
    return ""


def _work_without(reason: str) -> None:
    _log.warning("no full remote control on this virtual host; runs are worked without it", reason=reason)
