"""Status updates to the site, in order, each confirmed by the broker.

They go to the *named* exchange on the site's virtual host: a queue owner may write to no other.
Publisher confirms and `mandatory` are what makes a loss visible (protocol facts, section 3).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import structlog
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosed, ChannelWrongStateError, NackError, UnroutableError

from protocol import celery_envelope
from protocol.celery_envelope import Envelope
from protocol.status import UPDATE_TASK, StatusUpdate
from worker.broker.connection import ConnectionParameters, basic_properties, ensure_queue
from worker.broker.link import AmqpLink, LinkDownError
from worker.broker.updates import WithdrawnError
from worker.counters import NO_COUNTERS, Counters

_LAST_WORDS, _FAREWELL = 5.0, 1.0  # seconds that the end waits for the broker, with updates on their way and without
_RETRY_PAUSE = 2.0  # seconds before an update that the broker refused is offered again

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    envelope: Envelope
    provided: Callable[[], bool]
    future: Future[None] = field(default_factory=Future)


class AmqpStatusSink:
    """Publishes updates on a connection of its own. They wait here while the broker is away."""

    def __init__(
        self,
        settings: ConnectionParameters,
        queue: str,
        *,
        on_refused: Callable[[str], None],
        counters: Counters = NO_COUNTERS,
    ) -> None:
        self._queue = queue
        self._pending: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._connection: BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._link = AmqpLink(settings, self, name="updates", on_refused=on_refused, counters=counters)

    @property
    def is_connected(self) -> bool:
        """True while there is a connection, as far as is known."""
        return self._link.is_up

    def start(self) -> None:
        """Begins to connect."""
        self._link.start()

    def close(self) -> None:
        """Ends the connection; updates that were not confirmed by then are given up, and their futures say so."""
        with self._lock:
            busy = bool(self._pending)
        self._link.close(timeout=_LAST_WORDS if busy else _FAREWELL)
        with self._lock:
            waiting, self._pending = self._pending, deque()
        for one in waiting:
            one.future.cancel()

    def send(self, update: StatusUpdate, provided: Callable[[], bool]) -> Future[None]:
        """Queues the update; the future is done when the broker has confirmed it, cancelled by `close`.

        Cancelling the future withdraws an update that was not published yet, and so does `provided` when its turn
        has come and it says no: the future raises `WithdrawnError` then.
        """
        envelope = celery_envelope.encode(UPDATE_TASK, update.arguments(), task_id=str(uuid4()))
        one = _Waiting(envelope, provided)
        with self._lock:
            self._pending.append(one)
        with suppress(LinkDownError):
            self._link.call(self._flush)
        return one.future

    def on_connected(self, connection: BlockingConnection) -> None:
        """Declares what the site declares too, and opens a channel in confirm mode."""
        ensure_queue(connection, self._queue)
        self._connection = connection
        self._channel = connection.channel()
        self._channel.confirm_delivery()

    def on_events(self) -> None:
        """Publishes what waits."""
        self._flush()

    def on_disconnected(self) -> None:
        """What waits is published on the next connection."""
        self._connection = self._channel = None

    def on_blocked(self, *, blocked: bool) -> None:
        """Updates wait all the same."""

    def _flush(self) -> None:
        while one := self._head():
            goes = not one.future.cancelled() and one.provided()
            if goes and not self._publish(one.envelope):
                return
            with self._lock:
                self._pending.popleft()
            with suppress(InvalidStateError):  # cancelled meanwhile
                one.future.set_result(None) if goes else one.future.set_exception(WithdrawnError())

    def _head(self) -> _Waiting | None:
        with self._lock:
            return self._pending[0] if self._pending else None

    def _publish(self, envelope: Envelope) -> bool:
        """True when the broker has confirmed; on a refusal the channel is made anew and a later try arranged."""
        assert self._connection  # noqa: S101 -- on_connected came first: the link calls nothing before it
        try:
            self._open_channel().basic_publish(
                self._queue, self._queue, envelope.body, basic_properties(envelope.properties), mandatory=True
            )
        except (UnroutableError, NackError, ChannelClosed, ChannelWrongStateError) as error:
            _log.error("update not accepted by the broker, trying again", error=repr(error))
            self._channel = None
            self._connection.call_later(_RETRY_PAUSE, self._flush)
            return False
        return True

    def _open_channel(self) -> BlockingChannel:
        assert self._connection  # noqa: S101 -- as above
        if not self._channel or not self._channel.is_open:
            self.on_connected(self._connection)
        assert self._channel  # noqa: S101 -- on_connected sets it
        return self._channel
