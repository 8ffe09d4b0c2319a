"""The HTTP server of the status page, by real connections: what it answers, and how it bears those who mean it ill."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus

import pytest

from tests.support.waiting import wait_until
from worker.monitoring import server as rooms
from worker.monitoring.server import Answer, Pages, WebServer


@contextmanager
def serving(pages: Pages) -> Iterator[tuple[str, int]]:
    server = WebServer("127.0.0.1", 0)
    server.start(pages)
    host, _, port = server.address.rpartition(":")
    try:
        yield host, int(port)
    finally:
        server.close()


def broken() -> Answer:
    raise ValueError("a bug")


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    pages = {"/": lambda: Answer("all is well\n"), "/bad": lambda: Answer("no\n", HTTPStatus.SERVICE_UNAVAILABLE)}
    with serving({**pages, "/broken": broken}) as address:
        yield address


def request(address: tuple[str, int], path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    with closing(http.client.HTTPConnection(*address, timeout=20)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.headers)


def talk(address: tuple[str, int], *pieces: bytes) -> bytes:
    """Sends that, then takes whatever comes until the server hangs up."""
    with socket.create_connection(address, timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return everything(connection)


def everything(connection: socket.socket) -> bytes:
    received = b""
    try:
        while more := connection.recv(65536):
            received += more
    except ConnectionResetError:
        pass
    return received


def test_pages_are_answered_whatever_their_query(address: tuple[str, int]) -> None:
    status, body, headers = request(address, "/?refresh=1")
    assert (status, body) == (200, b"all is well\n")
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]
    assert request(address, "/bad")[0] == 503


def test_a_head_has_no_body(address: tuple[str, int]) -> None:
    status, body, headers = request(address, "/", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "12")


@pytest.mark.parametrize("path", ["/other", "/../etc/passwd", "/%2e%2e/", "*"])
def test_no_other_path_is_known(address: tuple[str, int], path: str) -> None:
    assert request(address, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(address: tuple[str, int], method: str) -> None:
    assert request(address, "/", method)[0] == 501


def test_a_page_that_breaks_says_nothing_of_how(address: tuple[str, int]) -> None:
    status, body, _headers = request(address, "/broken")
    assert (status, body) == (500, b"An error of the worker; its log has it.\n")
    assert request(address, "/")[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 9000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 3000 + b"\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
    ],
)
def test_a_request_that_is_too_long_or_none_is_refused(address: tuple[str, int], sent: bytes, status: bytes) -> None:
    answer = talk(address, sent)
    assert status in answer[:200]
    assert b"all is well" not in answer
    assert request(address, "/")[0] == 200


def test_a_client_that_drips_is_hung_up_on(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "_PATIENCE", 0.5)
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        ended = threading.Event()
        dripping = threading.Thread(target=drip, args=(connection, ended))
        dripping.start()
        assert everything(connection) == b""
        ended.set()
        dripping.join()


def drip(connection: socket.socket, ended: threading.Event) -> None:
    """A header every tenth of a second, so that no pause is ever as long as the server's patience."""
    while not ended.wait(0.1):
        try:
            connection.sendall(b"X: y\r\n")
        except OSError:
            return


def test_a_client_that_does_not_take_its_answer_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = serving_threads()
    monkeypatch.setattr(rooms, "_PATIENCE", 0.5)
    long, asked = Answer(b"x" * (64 << 20)), threading.Event()

    def page() -> Answer:
        asked.set()
        return long

    with serving({"/": page}) as address, socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert asked.wait(30)
        wait_for_no_more_than(before)
        assert len(everything(connection)) < len(long.body)


def test_only_a_few_are_served_at_a_time() -> None:
    before = serving_threads()
    gate, entered = threading.Event(), threading.Semaphore(0)

    def slow() -> Answer:
        entered.release()
        gate.wait(30)
        return Answer("done\n")

    with serving({"/": slow}) as address, ExitStack() as clients:
        asked = [clients.enter_context(socket.create_connection(address, timeout=30)) for _ in range(rooms._CLIENTS)]
        for one in asked:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert all(entered.acquire(timeout=20) for _ in asked)
        assert talk(address) == b""
        gate.set()
        assert all(everything(one).endswith(b"done\n") for one in asked)
        wait_for_no_more_than(before)
        assert request(address, "/")[0] == 200


def test_it_is_silent_until_it_is_started_and_after_its_end() -> None:
    server = WebServer("127.0.0.1", 0)
    host, _, port = server.address.rpartition(":")
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=20).close()


def test_it_binds_where_it_is_told_and_there_only() -> None:
    with serving({"/": lambda: Answer("")}) as (_host, port), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=20).close()


def test_ipv6() -> None:
    server = WebServer("::1", 0)
    server.start({"/": lambda: Answer("six\n")})
    assert server.address.startswith("[::1]:")
    assert request(("::1", int(server.address.rpartition(":")[2])), "/")[1] == b"six\n"
    server.close()


def test_an_address_that_is_taken_is_known_at_once(address: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="in use"):
        WebServer(*address)


def serving_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if "process_request" in one.name}


def wait_for_no_more_than(before: set[threading.Thread]) -> None:
    """Nobody tells when a thread of the server's has ended."""
    wait_until(lambda: serving_threads() <= before)
