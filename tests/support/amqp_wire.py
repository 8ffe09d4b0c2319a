"""AMQP 0-9-1 seen from the middle of a connection: whole frames, counted, and now and then forged.

A frame is a kind, a channel, the payload's length, the payload and an end mark. Forging is how a test has the
broker close a channel for its reasons (a consumer timeout takes an hour to provoke).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_PREAMBLE = 8  # "AMQP", four digits of the version: the client's first bytes are no frame
_HEAD = struct.Struct(">BHL")
_METHOD = struct.Struct(">HH")
_TUNE = struct.Struct(">HHHLH")  # class, method, channel max, frame max, heartbeat
_END = b"\xce"
_METHOD_FRAME, _HEARTBEAT_FRAME = 1, 8
_OPEN, _CONSUME = (10, 40), (60, 20)
_TUNE_METHODS = {(10, 30), (10, 31)}
_CLOSE, _CLOSE_OK = (20, 40), (20, 41)


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    channel: int
    payload: bytes

    @property
    def method(self) -> tuple[int, int]:
        """Class and method; (0, 0) for a frame that is none."""
        return _METHOD.unpack_from(self.payload) if self.kind == _METHOD_FRAME else (0, 0)

    def __bytes__(self) -> bytes:
        return _HEAD.pack(self.kind, self.channel, len(self.payload)) + self.payload + _END


@dataclass
class _Direction:
    """One way of a connection. While `cut_off` holds a channel, what passes on it is dropped up to a close-ok."""

    rest: bytes = b""
    beats: int = 0
    cut_off: set[int] = field(default_factory=set)

    def frames(self, data: bytes) -> Iterator[Frame]:
        self.rest += data
        while len(self.rest) >= _HEAD.size:
            kind, channel, length = _HEAD.unpack_from(self.rest)
            end = _HEAD.size + length + len(_END)
            if len(self.rest) < end:
                return
            frame, self.rest = Frame(kind, channel, self.rest[_HEAD.size : end - 1]), self.rest[end:]
            if channel in self.cut_off:
                if frame.method == _CLOSE_OK:
                    self.cut_off.remove(channel)
                continue
            yield frame


class AmqpWire:
    """One connection. `heartbeat`, where given, takes the place of the seconds that the broker offers."""

    def __init__(self, heartbeat: int | None = None) -> None:
        self._offer = heartbeat
        self._client, self._server = _Direction(), _Direction()
        self._preamble = _PREAMBLE
        self._consuming: set[int] = set()
        self.negotiated_heartbeat: int | None = None
        self.vhost = ""

    @property
    def client_beats(self) -> int:
        """Heartbeat frames that the client has sent."""
        return self._client.beats

    @property
    def server_beats(self) -> int:
        return self._server.beats

    def from_client(self, data: bytes) -> bytes:
        head, data = data[: self._preamble], data[self._preamble :]
        self._preamble -= len(head)
        return head + _passed(self._client, data, self._note_client)

    def from_server(self, data: bytes) -> bytes:
        return _passed(self._server, data, self._with_own_offer)

    def close_consuming_channels(self, code: int, text: str) -> tuple[bytes, bytes]:
        """What to send to the client and to the server, so that each believes that the other closed them."""
        to_client, to_server = b"", b""
        for channel in sorted(self._consuming):
            to_client += bytes(Frame(_METHOD_FRAME, channel, _close(code, text)))
            to_server += bytes(Frame(_METHOD_FRAME, channel, _close(200, "")))
            self._client.cut_off.add(channel)
            self._server.cut_off.add(channel)
        self._consuming.clear()
        return to_client, to_server

    def _note_client(self, frame: Frame) -> Frame:
        if frame.method == _OPEN:
            length = frame.payload[_METHOD.size]
            self.vhost = frame.payload[_METHOD.size + 1 :][:length].decode()
        elif frame.method == _CONSUME:
            self._consuming.add(frame.channel)
        elif frame.method in _TUNE_METHODS:
            self.negotiated_heartbeat = _TUNE.unpack(frame.payload)[-1]
        return frame

    def _with_own_offer(self, frame: Frame) -> Frame:
        if frame.method not in _TUNE_METHODS or self._offer is None:
            return frame
        *others, _broker_offers = _TUNE.unpack(frame.payload)
        return Frame(frame.kind, frame.channel, _TUNE.pack(*others, self._offer))


class EncryptedWire(AmqpWire):
    """One of which nothing can be read: it passes as it is."""

    def from_client(self, data: bytes) -> bytes:
        return data

    def from_server(self, data: bytes) -> bytes:
        return data


def _passed(direction: _Direction, data: bytes, look: Callable[[Frame], Frame]) -> bytes:
    passed = b""
    for frame in direction.frames(data):
        direction.beats += frame.kind == _HEARTBEAT_FRAME
        passed += bytes(look(frame))
    return passed


def _close(code: int, text: str) -> bytes:
    said = text.encode()
    return struct.pack(">HHHB", *_CLOSE, code, len(said)) + said + struct.pack(">HH", 0, 0)
