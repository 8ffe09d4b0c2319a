"""A small HTTP server that only answers GET and HEAD, for a network that is not to be trusted.

A request has a few seconds and a few kilobytes in all, whatever its pace; a few clients are served at a time, and
one more is hung up on. It writes nothing, and knows no paths but those that it was given.
"""

from __future__ import annotations

import io
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import structlog

_PATIENCE = 5.0  # seconds for a request to arrive, and again for its answer to be taken
_LONGEST_HEAD = 8192  # bytes of request line and headers
_CLIENTS = 8
_BACKLOG = 16
PLAIN = "text/plain; charset=utf-8"
_ALWAYS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path has to say; `headers` come beside or in place of those that every answer has."""

    body: str | bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)


Pages = Mapping[str, Callable[[], Answer]]


class WebServer:
    """Listens from the beginning, so that an address that cannot be had is known at once; answers after `start`.

    Port 0 is any that is free; `address` says which. Raises `OSError`.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = _Server(host, port)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)

    @property
    def address(self) -> str:
        """`host:port` as it is."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def start(self, pages: Pages) -> None:
        """Begins to answer."""
        self._server.pages = pages
        self._thread.start()

    def close(self) -> None:
        """Hangs up; an answer that is under way is not waited for."""
        self._closing = True
        with suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        if self._thread.is_alive():
            self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        """By turns without a time-out: `serve_forever` would wake up twice a second."""
        while not self._closing:
            self._server.handle_request()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(self, host: str, port: int) -> None:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self.pages: Pages = {}
        self._room = threading.BoundedSemaphore(_CLIENTS)
        super().__init__(cast("tuple[str, int]", address), _Handler)

    def server_bind(self) -> None:
        """Without the base class's look-up of the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- the base class's own
        """A thread for it, where one more is allowed."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- likewise
        """That thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- likewise
        """A client that hangs up or is hung up on is no event; what a page raises does not come here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "codalab-worker", ""

    def setup(self) -> None:
        """With bounds on what is read."""
        super().setup()
        self.rfile = io.BufferedReader(_Bounded(self.connection))

    def do_GET(self) -> None:
        """Head and body."""
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        """The head alone."""
        self._reply(with_body=False)

    def log_message(self, *_: object) -> None:
        """Requests are no events."""

    def _reply(self, *, with_body: bool) -> None:
        answer = self._answer()
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        self.connection.settimeout(_PATIENCE)
        self.send_response(answer.status)
        facts = {"Content-Type": answer.content_type, "Content-Length": str(len(body))}
        for name, value in {**_ALWAYS, **facts, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _answer(self) -> Answer:
        page = self.server.pages.get(self.path.partition("?")[0])
        if not page:
            return Answer("There is no such page.\n", HTTPStatus.NOT_FOUND)
        try:
            return page()
        except Exception:  # noqa: BLE001 -- a bug in a page is the page's alone
            _log.exception("a page of the worker broke")
            return Answer("An error of the worker; its log has it.\n", HTTPStatus.INTERNAL_SERVER_ERROR)


class _Bounded(io.RawIOBase):
    """What a client sends, up to a number of bytes and a moment, however slowly it sends them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ends = time.monotonic() + _PATIENCE
        self._left = _LONGEST_HEAD

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- any writable buffer
        """Raises `TimeoutError`, or the `HTTPException` that has the base class refuse headers that are too long."""
        if not self._left:
            raise HTTPException("Request too long")
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer, min(len(buffer), self._left))
        self._left -= count
        return count
