"""The two outputs of a container, read from one connection to the engine."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, cast

from sandbox.engine import Stream

# Engine API, "attach": a byte for the stream, three of padding, and the length of what follows.
_HEADER = struct.Struct(">BxxxL")
_STREAMS = {1: Stream.STDOUT, 2: Stream.STDERR}
_BUFFER = 1 << 16


class DockerAttachment:
    """Reads frames from the raw connection of an attach call.

    The SDK's own reader waits with `poll`, which does not see what TLS has decrypted already, so
    the connection is read here. `raw` is what `APIClient.attach_socket` hands out.
    """

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 - SocketIO or SSLSocket: the SDK has no common type
        self._raw = raw  # keeps the SDK's response alive, which would close the connection
        self._socket: socket.socket = getattr(raw, "_sock", raw)
        self._socket.settimeout(None)  # a program may be silent for days
        self._reader = cast("BinaryIO", self._socket.makefile("rb", buffering=_BUFFER))

    def chunks(self) -> Iterator[tuple[Stream, bytes]]:
        """Each piece as it comes; ends when the container ends, the engine goes away or `close` is called."""
        with suppress(OSError, ValueError):  # broken off, or closed in this very moment
            while len(header := self._reader.read(_HEADER.size)) == _HEADER.size:
                stream, length = _HEADER.unpack(header)
                yield from self._frame(_STREAMS.get(stream, Stream.STDOUT), length)

    def _frame(self, stream: Stream, length: int) -> Iterator[tuple[Stream, bytes]]:
        while length and (piece := self._reader.read(min(length, _BUFFER))):
            length -= len(piece)
            yield stream, piece

    def close(self) -> None:
        """Wakes whoever reads, and lets the connection go; may be called twice, from any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.close()  # waits for a reader in another thread, whom the line above has woken
        self._socket.close()
        self._raw.close()
