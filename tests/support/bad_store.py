"""A signed-URL store in front of the real one: passes requests on, until it is told to misbehave; notes them all.

A SAS does not sign the host, so addresses that were signed for the real one are good here, too.
"""

from __future__ import annotations

import math
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from urllib.parse import urlsplit

import requests

_PASSED_ON = ("Content-Type", "x-ms-blob-type", "x-ms-version", "Range", "If-Match", "If-None-Match")
_PASSED_BACK = ("ETag", "Accept-Ranges", "Content-Range", "Content-MD5")
_LONGEST = 100.0  # seconds that a request is held


class Fault(Enum):
    """What can be wrong besides a status."""

    RESET = "reset before an answer; of a PUT, before its body was read"
    CUT = "reset in the middle of the body, its or ours"
    SHORT = "a body that ends too soon, in good order"
    HELD = "a PUT that was read whole and is acted on only when it is let go"
    NONE = "nothing"


class Hold:
    """A request that is held before anything is done about it; `let_go` is the test's to set, and `then` its answer."""

    def __init__(self) -> None:
        self.then: HTTPStatus | Fault = Fault.NONE
        self.held = threading.Event()
        self.let_go = threading.Event()


Answer = HTTPStatus | Fault | Hold


@dataclass(eq=False)
class Noted:
    """A request: what was asked, what the real store answered (0: it was not asked), and when that was.

    `done` is when the store had answered, or else when the request was over: whoever asked may hear of it at once.
    """

    method: str
    blob: str
    range: str | None
    length: int
    status: int = 0
    sent: int = 0
    """Bytes of the body that it was answered with, in good order."""
    done: float = math.inf
    """Of the monotonic clock."""
    begun: float = 0.0


class BadStore(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, real: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(real)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}{parts.path}"
        self.real_host = f"{parts.scheme}://{parts.netloc}"
        self._answers: dict[tuple[str, str], Iterator[Answer]] = {}
        self.otherwise: Callable[[], Answer] = lambda: Fault.NONE
        """How requests are answered of which nothing else was said."""
        self._changed = threading.Condition()
        self.held = threading.Event()
        """Set when a PUT was read that is held."""
        self.let_go = threading.Event()
        """To be set by the test."""
        self._requests: list[Noted] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not read to the end of an error is none of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def always(self, method: str, blob: str, answer: Answer) -> None:
        """Has every request of that method for the blob (`CONTAINER/PATH`) answered so."""
        self._answers[method, blob] = repeat(answer)

    def hold(self, method: str, blob: str) -> Hold:
        """Holds the first request of that method for the blob; the others are answered well."""
        hold = Hold()
        self.first(method, blob, [hold])
        return hold

    def first(self, method: str, blob: str, answers: Iterable[Answer]) -> None:
        """Has the first requests answered so, and the others well."""
        self._answers[method, blob] = iter(tuple(answers))

    def count(self, method: str, blob: str) -> int:
        """Requests of that method for the blob, however they were answered."""
        return len(self.requests(method, blob))

    def requests(self, method: str, blob: str) -> list[Noted]:
        """Those requests, in order."""
        with self._changed:
            return [noted for noted in self._requests if (noted.method, noted.blob) == (method, blob)]

    def wait_for(self, method: str, blob: str, *, count: int, timeout: float = 60.0) -> bool:
        """True once so many of those requests are over; False where they are not within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(
                lambda: sum(noted.done < math.inf for noted in self.requests(method, blob)) >= count, timeout
            )

    @contextmanager
    def noting(self, request: Noted) -> Iterator[Answer]:
        """Notes a request while it lasts, and says how to answer it."""
        with self._changed:
            request.begun = time.monotonic()
            self._requests.append(request)
            answer = next(self._answers.get((request.method, request.blob), iter(())), None) or self.otherwise()
        try:
            if isinstance(answer, Hold):
                answer.held.set()
                answer.let_go.wait(_LONGEST)
                answer = answer.then
            yield answer
        finally:
            with self._changed:
                request.done = min(request.done, time.monotonic())
                self._changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BadStore

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        noted = self._request()
        with self.server.noting(noted) as answer:
            match answer:
                case HTTPStatus() as status:
                    self._send(status, b"<Error>no</Error>")
                case Fault.RESET:
                    self._reset()
                case fault:
                    self._hand_out(noted, fault)

    def do_PUT(self) -> None:
        noted = self._request()
        with self.server.noting(noted) as answer:
            if answer is Fault.RESET:
                self._reset()
            elif answer is Fault.CUT:
                self.rfile.read(noted.length // 2)
                self._reset()
            elif isinstance(answer, HTTPStatus):
                self.rfile.read(noted.length)
                self._send(answer, b"<Error>no</Error>")
            else:
                self._pass_on(noted, answer)

    def _request(self) -> Noted:
        blob = urlsplit(self.path).path.split("/", 2)[2]
        return Noted(self.command, blob, self.headers["Range"], int(self.headers.get("Content-Length", 0)))

    def _hand_out(self, noted: Noted, fault: Answer) -> None:
        reply = self._real(None)
        body = reply.content
        noted.status, noted.sent = reply.status_code, len(body)
        self._head(reply, len(body))
        self.wfile.write(body if fault is Fault.NONE else body[: len(body) // 2])
        if fault is Fault.CUT:
            self._reset()
        self.close_connection = self.close_connection or fault is Fault.SHORT

    def _pass_on(self, noted: Noted, answer: Answer) -> None:
        body = self.rfile.read(noted.length)
        if len(body) < noted.length:
            return  # whoever sent it has gone
        if answer is Fault.HELD:
            self.server.held.set()
            self.server.let_go.wait(_LONGEST)
        reply = self._real(body)
        noted.status, noted.done = reply.status_code, time.monotonic()
        self._head(reply, 0)

    def _real(self, body: bytes | None) -> requests.Response:
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        url = self.server.real_host + self.path
        with requests.Session() as session:
            session.trust_env = False  # pytest changes the environment under threads that read it
            return session.request(self.command, url, data=body, headers=headers, timeout=30)

    def _head(self, reply: requests.Response, length: int) -> None:
        self.send_response(reply.status_code)
        for name in _PASSED_BACK:
            if name in reply.headers:
                self.send_header(name, reply.headers[name])
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        """RST in place of FIN, whatever was written before."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()
        self.close_connection = True


@contextmanager
def bad_store(real: str) -> Iterator[BadStore]:
    """Has one for a while, before the store whose endpoint is `real`."""
    with BadStore(real) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
