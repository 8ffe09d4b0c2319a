"""What the engine itself has kept of a container's output, read again by a worker that comes back to it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

import urllib3.exceptions
from docker.types import CancellableStream
from requests import Response

from sandbox.engine import Stream

# As in an attachment: a byte for the stream, three of padding, and the length of what follows.
_HEADER = struct.Struct(">BxxxL")
_STREAMS = {1: Stream.STDOUT, 2: Stream.STDERR}
_PIECE = 16384  # what the engine puts into one entry of its log; a longer line has several


class EngineLog:
    """An `Attachment` to the engine's own log: it ends when the container ends, at once where it has ended.

    The driver `local` loses the newline after a line of several entries (measured with engine 20.10); it is put back.
    """

    def __init__(self, answer: Response) -> None:
        self._answer = answer

    def chunks(self) -> Iterator[tuple[Stream, bytes]]:
        """Each entry; a shorter one without a newline was the end of a line, unless nothing follows it."""
        cut: set[Stream] = set()
        for stream, data in self._frames():
            if stream in cut:
                cut.discard(stream)
                yield stream, b"\n"
            if len(data) < _PIECE and not data.endswith(b"\n"):
                cut.add(stream)
            yield stream, data

    def _frames(self) -> Iterator[tuple[Stream, bytes]]:
        with suppress(OSError, ValueError, AttributeError, urllib3.exceptions.HTTPError):  # broken off, or closed
            while len(header := self._answer.raw.read(_HEADER.size)) == _HEADER.size:
                stream, length = _HEADER.unpack(header)
                yield _STREAMS.get(stream, Stream.STDOUT), self._answer.raw.read(length)

    def close(self) -> None:
        """Wakes whoever reads, and lets the connection go; may be called twice, from any thread."""
        with suppress(OSError, ValueError, AttributeError):
            CancellableStream(iter(()), self._answer).close()
        self._answer.close()  # the line above has woken whoever reads, and leaves the connection to be collected
