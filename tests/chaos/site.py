"""The site's end of the line: takes each update at the moment when the broker has it, whatever restarts meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Self

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic

from tests.chaos.place import UPDATES

_PAUSE = 0.2  # seconds between two tries to connect
_LAST = 1.0  # seconds in which what the broker has still comes
_PATIENCE = 60.0


class Site:
    """A thread of its own, until `close`; `told` is given the time (epoch seconds) and the body of each update."""

    def __init__(
        self, connect: Callable[[], AbstractContextManager[BlockingChannel]], told: Callable[[float, bytes], None]
    ) -> None:
        self._connect = connect
        self._told = told
        self._closed = threading.Event()
        self._channel: BlockingChannel | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="site")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes what there is still, and ends. Raises what `told` has raised."""
        self._closed.set()
        if self._channel:
            with suppress(AMQPError):
                self._channel.connection.add_callback_threadsafe(self._channel.stop_consuming)
        self._thread.join(_PATIENCE)
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._consume()
            except AMQPError:  # the broker is being restarted
                self._closed.wait(_PAUSE)
            except BaseException as failure:  # noqa: BLE001 -- it is the other thread's to raise
                self._failure = failure
                return

    def _consume(self) -> None:
        with self._connect() as channel:
            channel.basic_consume(UPDATES, self._take)
            self._channel = channel
            if not self._closed.is_set():
                channel.start_consuming()
            for method, _properties, body in channel.consume(UPDATES, inactivity_timeout=_LAST):
                if method is None or body is None:
                    return
                self._take(channel, method, _properties, body)

    def _take(self, channel: BlockingChannel, method: Basic.Deliver, _properties: object, body: bytes) -> None:
        self._told(time.time(), body)
        channel.basic_ack(method.delivery_tag or 0)
