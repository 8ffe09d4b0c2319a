"""A TCP proxy between the daemon and the broker, which cuts, refuses, delays or swallows when a test says so."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from tests.support.amqp_wire import AmqpWire, EncryptedWire

T = TypeVar("T")
Side = Literal["client", "server"]
_CHUNK = 1 << 16
_ANSWER = 30.0
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for 0 s: the end is a reset


@dataclass(eq=False)
class _Connection:
    wire: AmqpWire
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def reset(self) -> None:
        for writer in (self.client, self.server):
            _reset(writer)

    def close_consuming_channels(self, code: int, text: str) -> None:
        to_client, to_server = self.wire.close_consuming_channels(code, text)
        self.client.write(to_client)
        self.server.write(to_server)


class FaultProxy:
    """Listens on a loopback port while its block lasts; its methods are the test's, from the test's thread.

    `heartbeat` is what clients are told that the broker offers (seconds), so that a test sees several. What is
    `encrypted` passes unread: it can be cut, but not told apart by its virtual host.
    """

    def __init__(self, url: str, *, heartbeat: int | None = None, encrypted: bool = False) -> None:
        self._target = urlsplit(url)
        self._heartbeat = heartbeat
        self._wire = EncryptedWire if encrypted else AmqpWire
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy")
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay = 0.0
        self._open: set[_Connection] = set()
        self._barred: set[str] = set()
        self._withheld: dict[tuple[str, Side], asyncio.Event] = {}
        self.wires: list[AmqpWire] = []
        """Every connection that was let in, in order."""
        self.refused = threading.Event()
        """Set when a connection was refused."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._await(asyncio.start_server(self._serve, "127.0.0.1", 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reset()
        self._await(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The broker's URL by way of this proxy."""
        login = self._target.netloc.rpartition("@")[0]
        port = self._server.sockets[0].getsockname()[1]
        return self._target._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()

    def let_through(self) -> None:
        """As if it were not there."""
        self._do(self._let_through)

    def refuse(self) -> None:
        """Resets new connections; those there are go on."""
        self._do(lambda: setattr(self, "_refusing", True))

    def reset(self) -> None:
        """Resets the connections there are; new ones are welcome."""
        self._do(lambda: self._each(_Connection.reset))

    def cut(self) -> None:
        """Resets the connections there are and those to come."""
        self.refuse()
        self.reset()

    def bar(self, vhost: str) -> None:
        """Resets the connections to that vhost, those there are and those to come."""
        self._do(lambda: self._bar(vhost))

    def withhold(self, vhost: str, side: Side) -> None:
        """What that side of the connections to the vhost says is kept here; if they are reset, it is never heard."""
        self._do(lambda: self._withheld.setdefault((vhost, side), asyncio.Event()))

    def black_hole(self) -> None:
        """Nothing arrives any more, in either direction, and nobody is told."""
        self._do(self._flowing.clear)

    def delay(self, seconds: float) -> None:
        """Every piece arrives that much later."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def close_consuming_channels(self, code: int, text: str) -> None:
        """Has the broker close the channels that consume, and the client be told that code and text for it."""
        self._do(lambda: self._each(lambda connection: connection.close_consuming_channels(code, text)))

    def _each(self, change: Callable[[_Connection], None]) -> None:
        for connection in self._open:
            change(connection)

    def _bar(self, vhost: str) -> None:
        self._barred.add(vhost)
        self._reset_barred()

    def _reset_barred(self) -> None:
        for connection in self._open:
            if connection.wire.vhost in self._barred:
                connection.reset()

    def _let_through(self) -> None:
        self._refusing, self._delay = False, 0.0
        self._flowing.set()
        self._barred.clear()
        withheld, self._withheld = self._withheld, {}
        for passing in withheld.values():
            passing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            self.refused.set()
            return
        try:
            server_reader, server = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:  # the broker is away itself
            _reset(writer)
            return
        connection = _Connection(self._wire(self._heartbeat), writer, server)
        self._open.add(connection)
        self.wires.append(connection.wire)
        try:
            await asyncio.gather(
                self._pump(connection, "client", reader, server),
                self._pump(connection, "server", server_reader, writer),
            )
        finally:
            self._open.remove(connection)

    async def _pump(
        self, connection: _Connection, side: Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        wire = connection.wire
        filtered = wire.from_client if side == "client" else wire.from_server
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                await asyncio.sleep(self._delay)
                passed = filtered(data)
                self._reset_barred()
                if withheld := self._withheld.get((wire.vhost, side)):
                    await withheld.wait()
                if writer.is_closing():
                    return
                writer.write(passed)
                await writer.drain()
        writer.close()

    async def _end(self) -> None:
        self._server.close()
        self._let_through()
        everyone = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*everyone, return_exceptions=True), _ANSWER)

    def _do(self, change: Callable[[], object]) -> None:
        async def changed() -> None:
            change()

        self._await(changed())

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER)


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # it is closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()
