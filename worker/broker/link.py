"""One AMQP connection, kept up: connects with back-off, hands channels to its owner, takes calls from any thread.

pika's BlockingConnection belongs to one thread. `AmqpLink` is that thread: it waits on the socket
without a timeout of its own, so heartbeats go on during a run of any length and nothing is polled.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

import structlog
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import AMQPError

from worker.broker.connection import BrokerRefusedError, ConnectionParameters, connect
from worker.counters import NO_COUNTERS, Counters

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0

_log = structlog.get_logger(__name__)


class LinkDownError(Exception):
    """There is no connection at this moment; what was asked for was not done."""


class Owner(Protocol):
    """Who uses a link. All are called on the link's thread."""

    def on_connected(self, connection: BlockingConnection) -> None:
        """A fresh connection: open channels, declare, consume."""
        ...

    def on_events(self) -> None:
        """Something arrived: look whether the channels are still open."""
        ...

    def on_disconnected(self) -> None:
        """That connection is gone, with its channels."""
        ...

    def on_blocked(self, *, blocked: bool) -> None:
        """The broker takes nothing from us, being short of memory or disk, or does again. It keeps what we hold."""
        ...


class AmqpLink:
    """A connection with its thread. `on_refused` is told when the broker refuses us before the link was ever up."""

    def __init__(
        self,
        settings: ConnectionParameters,
        owner: Owner,
        *,
        name: str,
        on_refused: Callable[[str], None],
        counters: Counters = NO_COUNTERS,
    ) -> None:
        self._settings = settings
        self._owner = owner
        self._name = name
        self._on_refused = on_refused
        self._counters = counters
        self._connection: BlockingConnection | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._was_up = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"amqp-{name}", daemon=True)

    @property
    def is_up(self) -> bool:
        """True while there is a connection, as far as is known."""
        with self._lock:
            return bool(self._connection and self._connection.is_open)

    def start(self) -> None:
        """Begins to connect."""
        self._thread.start()

    def call(self, work: Callable[[], None]) -> None:
        """Has `work` done on the link's thread, soon. Raises `LinkDownError` where there is no connection."""
        with self._lock:
            if not self._connection or not self._connection.is_open:
                raise LinkDownError
            self._connection.add_callback_threadsafe(work)

    def close(self, timeout: float) -> None:
        """Ends the connection and the thread, after what was called before; waits for that so many seconds at most."""
        self._closing.set()
        with suppress(LinkDownError):
            self.call(self._end)
        self._thread.join(timeout)

    def _end(self) -> None:
        """Called in its turn, so that everything called before is done by then."""
        self._ended = True

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing.is_set():
            try:
                self._stay_connected()
            except BrokerRefusedError as error:
                if not self._was_up:
                    self._on_refused(str(error))
                    return
                _log.error("broker refuses us", link=self._name, error=str(error))
            except (AMQPError, OSError) as error:
                _log.warning(
                    "no broker connection, trying again",
                    link=self._name,
                    error=repr(error),
                    retry_in=round(pause, 1),
                )
            except Exception:  # noqa: BLE001 -- a bug must not leave the worker deaf
                _log.exception("a bug on a broker connection's thread", link=self._name)
            pause = _FIRST_PAUSE if self._forget() else min(pause * 2, _LONGEST_PAUSE)
            self._closing.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter is no secret

    def _stay_connected(self) -> None:
        connection = connect(self._settings)
        self._watch_blocking(connection)
        try:
            self._serve(connection)
        finally:
            with suppress(AMQPError, OSError):  # lost already, or left because its owner could not use it
                connection.close()

    def _serve(self, connection: BlockingConnection) -> None:
        self._owner.on_connected(connection)
        with self._lock:
            self._connection = connection
            self._ended = self._closing.is_set()  # `close` came while there was no connection to end
        self._was_up = True
        self._counters.connected(self._name)
        _log.info("connected to broker", link=self._name, vhost=self._settings.virtual_host)
        self._owner.on_events()
        while not self._ended:
            connection.process_data_events(time_limit=None)
            self._owner.on_events()

    def _forget(self) -> bool:
        """Drops the connection; says whether there was one."""
        with self._lock:
            connection, self._connection = self._connection, None
        self._owner.on_disconnected()
        return connection is not None

    def _watch_blocking(self, connection: BlockingConnection) -> None:
        """By the connection beneath: pika's own would call back only when whatever is blocked has been done."""
        beneath = cast("Any", connection)._impl  # noqa: SLF001 -- see above
        beneath.add_on_connection_blocked_callback(lambda _connection, _frame: self._note_blocking(blocked=True))
        beneath.add_on_connection_unblocked_callback(lambda _connection, _frame: self._note_blocking(blocked=False))

    def _note_blocking(self, *, blocked: bool) -> None:
        if blocked:
            _log.warning("the broker is short of memory or disk, and takes nothing; waiting for it", link=self._name)
        else:
            _log.info("the broker takes messages again", link=self._name)
        self._owner.on_blocked(blocked=blocked)
