"""Transfers against a store on this machine that misbehaves as it is told."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import pytest

from protocol.urls import SignedUrl
from tests.support.waiting import wait_until
from worker.counters import Direction, NoCounters
from worker.storage import transfer
from worker.storage.errors import StoreUnavailable, TooLarge, UrlRefused
from worker.storage.transfer import Transfers

DATA = bytes(range(256)) * 4000
SECRET = "sv=2021-12-02&sig=TOPSECRET"
LONG, SOON = 30.0, 6.0  # seconds: what nobody is to wait for, and by when a stalled machine has gone on


class Seen(NamedTuple):
    path: str
    headers: Message
    body: bytes
    client_address: tuple[str, int]


class Handler(BaseHTTPRequestHandler):
    """Does what the next thing in its script says; the last is repeated."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[list[Callable[[Handler], None]]] = []
    requests: ClassVar[list[Seen]] = []
    over: ClassVar[threading.Event] = threading.Event()
    """Set when a test has ended: nobody is to be kept waiting any more."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append(Seen(self.path, self.headers, body, self.client_address))
        script = self.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    def do_PUT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass

    def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Ends the connection by RST."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


Step = Callable[[Handler], None]


def status(code: int, **headers: str) -> Step:
    return lambda handler: handler.answer(code, b"<Error>sig=TOPSECRET</Error>", None, **headers)


def whole(**headers: str) -> Step:
    return lambda handler: handler.answer(200, DATA, None, **headers)


def cut(at: int, **headers: str) -> Step:
    def step(handler: Handler) -> None:
        handler.answer(200, DATA[:at], len(DATA), **headers)
        handler.reset() if at % 2 else setattr(handler, "close_connection", True)

    return step


def rest(code: int = 206, etag: str = '"v1"') -> Step:
    def step(handler: Handler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        content_range = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        handler.answer(code, DATA[start:], ETag=etag, Content_Range=content_range)

    return step


class Store:
    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = Handler.requests

    def will(self, *steps: Step) -> SignedUrl:
        Handler.script[:] = steps
        return SignedUrl(f"{self.url}/bundle.zip?{SECRET}")


@pytest.fixture
def store() -> Iterator[Store]:
    Handler.requests.clear()
    Handler.over.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # connections break by design
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Store(f"http://127.0.0.1:{server.server_port}")
    Handler.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def transfers() -> Iterator[Transfers]:
    with Transfers(attempts=4, first_wait=0.01) as made:
        yield made


def download(
    transfers: Transfers, url: SignedUrl, folder: Path, *, limit: int | None = None, deadline: float = LONG
) -> bytes:
    size = transfers.download(url, folder / "target", limit=limit, deadline=deadline)
    data = (folder / "target").read_bytes()
    assert len(data) == size
    assert [path.name for path in folder.iterdir()] == ["target"]
    return data


RESUMABLE = {"ETag": '"v1"', "Accept_Ranges": "bytes"}


@pytest.mark.parametrize(
    "steps",
    [
        (whole(),),
        (status(503), status(429), status(408), whole()),
        (cut(500_000), whole()),
        (cut(500_001), whole()),
        (Handler.reset, whole()),
        (cut(500_000, **RESUMABLE), rest()),
        (cut(500_001, **RESUMABLE), rest()),
        (cut(500_000, **RESUMABLE), rest(200)),
        (cut(500_000, **RESUMABLE), whole(**RESUMABLE)),
        (cut(500_000, **RESUMABLE), status(412), whole()),
        (cut(500_000, **RESUMABLE), status(416), whole()),
        (cut(500_000, **RESUMABLE), rest(etag='"v2"'), whole(ETag='"v2"')),
        (cut(500_000, **RESUMABLE), status(503), rest()),
        (cut(500_000, **{**RESUMABLE, "ETag": 'W/"weak"'}), whole()),
        (lambda handler: handler.answer(206, DATA), whole()),
        (lambda handler: handler.answer(200, DATA, Content_MD5=base64.b64encode(b"0" * 16).decode()), whole()),
        (whole(Content_MD5=base64.b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode()),),
        (whole(Content_MD5="nonsense"),),
        (whole(Content_Encoding="gzip"),),
    ],
)
def test_the_bytes_arrive_whatever_happens_on_the_way(
    store: Store, transfers: Transfers, tmp_path: Path, steps: tuple[Step, ...]
) -> None:
    assert download(transfers, store.will(*steps), tmp_path) == DATA
    assert len(store.requests) == len(steps)


def test_an_archive_is_not_hashed_for_it_has_checksums_inside(
    store: Store, transfers: Transfers, tmp_path: Path
) -> None:
    archive = b"PK\3\4" + DATA
    url = store.will(lambda handler: handler.answer(200, archive, Content_MD5=base64.b64encode(b"0" * 16).decode()))
    assert download(transfers, url, tmp_path) == archive
    assert len(store.requests) == 1


def test_a_resume_asks_for_the_rest_of_the_same_version(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    download(transfers, store.will(cut(500_000, **RESUMABLE), rest()), tmp_path)
    first, second = store.requests
    assert "Range" not in first.headers
    assert (second.headers["Range"], second.headers["If-Match"]) == ("bytes=500000-", '"v1"')
    assert second.headers["Accept-Encoding"] == "identity"


def test_progress_that_is_made_does_not_use_up_attempts(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    def next_part(handler: Handler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        content_range = {"Content_Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
        handler.answer(206, DATA[start : start + 100_000], len(DATA) - start, **RESUMABLE, **content_range)
        handler.close_connection = True

    assert download(transfers, store.will(next_part), tmp_path) == DATA
    assert len(store.requests) > 4


def test_no_length_no_promise(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    def chunked(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(
            b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (DATA[:70_000], DATA[70_000:], b""))
        )

    assert download(transfers, store.will(chunked), tmp_path) == DATA


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 304, 300])
def test_a_refusal_is_final_and_holds_no_signature(
    store: Store, transfers: Transfers, tmp_path: Path, code: int
) -> None:
    with pytest.raises(UrlRefused) as caught:
        download(transfers, store.will(status(code)), tmp_path)
    assert caught.value.status == code
    assert len(store.requests) == 1
    assert str(caught.value).endswith(f"/bundle.zip?…: HTTP {code}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [status(500), status(503), status(429), Handler.reset, cut(1000), cut(0)])
def test_a_store_that_stays_broken_is_given_up(store: Store, transfers: Transfers, tmp_path: Path, step: Step) -> None:
    with pytest.raises(StoreUnavailable, match="after 4 attempts") as caught:
        download(transfers, store.will(step), tmp_path)
    assert len(store.requests) == 4
    assert "TOPSECRET" not in "".join(traceback.format_exception(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_nobody_listening(transfers: Transfers, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = SignedUrl(f"http://127.0.0.1:{taken.getsockname()[1]}/x?{SECRET}")
        with pytest.raises(StoreUnavailable, match="ConnectionRefusedError") as caught:
            download(transfers, url, tmp_path)
    error: BaseException | None = caught.value
    while error:
        assert "TOPSECRET" not in repr(error)
        error = error.__context__


def test_waits_grow_with_jitter(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    asked: list[float] = []

    def note(handler: Handler) -> None:
        times.append(time.monotonic())
        handler.answer(500)

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        time.sleep(seconds)

    monkeypatch.setattr(transfer, "time", SimpleNamespace(sleep=sleep))
    with Transfers(attempts=4, first_wait=0.1) as transfers, pytest.raises(StoreUnavailable):
        download(transfers, store.will(note), tmp_path, deadline=60)
    waits = [after - before for before, after in pairwise(times)]
    assert all(least <= wait <= least + 0.1 for least, wait in zip([0.1, 0.2, 0.4], asked, strict=True))
    assert all(waited >= wait for waited, wait in zip(waits, asked, strict=True))


def drip(handler: Handler) -> None:
    """A byte now and then: no read ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(DATA)))
    handler.end_headers()
    try:
        while not Handler.over.wait(0.05):
            handler.wfile.write(b"x")
    except OSError:
        handler.close_connection = True


def silence(handler: Handler) -> None:
    Handler.over.wait(LONG)
    handler.close_connection = True


@pytest.mark.parametrize("step", [drip, silence])
def test_the_deadline_holds_against_drips_and_silence(
    store: Store, transfers: Transfers, tmp_path: Path, step: Step
) -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"not done within 0\.5 s"):
        download(transfers, store.will(step), tmp_path, deadline=0.5)
    assert time.monotonic() - started < SOON
    assert list(tmp_path.iterdir()) == []


def test_the_deadline_holds_while_waiting_to_try_again(store: Store, tmp_path: Path) -> None:
    started = time.monotonic()
    with Transfers(first_wait=LONG) as transfers, pytest.raises(StoreUnavailable, match="not done within"):
        download(transfers, store.will(status(500)), tmp_path, deadline=0.3)
    assert time.monotonic() - started < 4.0  # the shortest of those waits


@pytest.mark.parametrize(
    "step",
    [whole(), lambda handler: handler.answer(200, DATA, Transfer_Encoding="identity"), cut(len(DATA) - 1)],
)
def test_too_large_is_noticed_by_announcement_or_by_counting(
    store: Store, transfers: Transfers, tmp_path: Path, step: Step
) -> None:
    with pytest.raises(TooLarge, match="larger than 100000 bytes"):
        download(transfers, store.will(step), tmp_path, limit=100_000)
    assert len(store.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_just_small_enough(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    assert download(transfers, store.will(whole()), tmp_path, limit=len(DATA)) == DATA


def test_an_empty_blob_is_an_empty_file(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    assert download(transfers, store.will(lambda handler: handler.answer(200)), tmp_path) == b""


def redirect(to: str, code: int = 302) -> Step:
    return lambda handler: handler.answer(code, Location=to)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(store: Store, transfers: Transfers, tmp_path: Path, code: int) -> None:
    assert download(transfers, store.will(redirect("/elsewhere?q=1", code), whole()), tmp_path) == DATA
    assert store.requests[1].path == "/elsewhere?q=1"


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://[::1", "gopher://x"])
def test_a_redirect_leads_nowhere_but_to_http(store: Store, transfers: Transfers, tmp_path: Path, to: str) -> None:
    with pytest.raises(UrlRefused):
        download(transfers, store.will(redirect(to), whole()), tmp_path)
    assert len(store.requests) == 1


def test_redirects_end(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    with pytest.raises(UrlRefused, match="more than 5 redirects"):
        download(transfers, store.will(redirect("/again")), tmp_path)
    assert len(store.requests) == 6


def test_the_environment_changes_nothing(
    store: Store, transfers: Transfers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    folder = tmp_path / "in"
    folder.mkdir()
    first = store.will(lambda handler: handler.answer(200, DATA, Set_Cookie="a=b"))
    assert download(transfers, first, folder) == download(transfers, first, folder) == DATA
    assert all("Authorization" not in request.headers for request in store.requests)
    assert all("Cookie" not in request.headers for request in store.requests)


def test_progress_counts_up_to_the_total(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    transfers.download(store.will(whole()), tmp_path / "x", deadline=LONG, progress=lambda *state: seen.append(state))
    assert seen == sorted(seen)
    assert seen[-1] == (len(DATA), len(DATA))


def test_an_error_in_progress_ends_the_download_and_leaves_nothing(
    store: Store, transfers: Transfers, tmp_path: Path
) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        transfers.download(store.will(whole()), tmp_path / "x", deadline=LONG, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_many_threads_share_one_session(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    url = store.will(whole())
    with ThreadPoolExecutor(16) as pool:
        sizes = list(pool.map(lambda n: transfers.download(url, tmp_path / str(n), deadline=60), range(64)))
    assert sizes == [len(DATA)] * 64


def upload(transfers: Transfers, url: SignedUrl, folder: Path, data: bytes = DATA, deadline: float = LONG) -> None:
    (folder / "source").write_bytes(data)
    transfers.upload(url, folder / "source", content_type="application/zip", deadline=deadline)


@pytest.mark.parametrize("data", [DATA, b"", b"x"])
def test_an_upload_has_a_length_and_azures_header(
    store: Store, transfers: Transfers, tmp_path: Path, data: bytes
) -> None:
    upload(transfers, store.will(status(201)), tmp_path, data)
    (request,) = store.requests
    assert request.body == data
    assert request.headers["Content-Length"] == str(len(data))
    assert request.headers["x-ms-blob-type"] == "BlockBlob"
    assert "Transfer-Encoding" not in request.headers
    assert "TOPSECRET" in request.path


@pytest.mark.parametrize(
    "steps",
    [
        (status(500), status(503), status(201)),
        (Handler.reset, status(201)),
        (redirect("/region", 307), status(200)),
        (redirect("/region", 308), status(200)),
    ],
)
def test_an_upload_starts_anew_from_the_file(
    store: Store, transfers: Transfers, tmp_path: Path, steps: tuple[Step, ...]
) -> None:
    upload(transfers, store.will(*steps), tmp_path)
    assert [request.body for request in store.requests] == [DATA] * len(steps)


@pytest.mark.parametrize("code", [403, 404, 409, 302, 303])
def test_a_refused_upload_is_final(store: Store, transfers: Transfers, tmp_path: Path, code: int) -> None:
    with pytest.raises(UrlRefused) as caught:
        upload(transfers, store.will(status(code, Location="/x")), tmp_path)
    assert caught.value.status == code
    assert len(store.requests) == 1


def test_an_upload_to_a_dead_store_is_given_up(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="HTTP 500, after 4 attempts"):
        upload(transfers, store.will(status(500)), tmp_path)


def test_an_upload_to_a_silent_store_ends_at_the_deadline(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="not done within"):
        upload(transfers, store.will(silence), tmp_path, deadline=0.4)


def in_blocks(store: Store, folder: Path, size: int, *steps: Step, **changes: Any) -> None:
    (folder / "file").touch()
    os.truncate(folder / "file", size)
    with Transfers(attempts=4, first_wait=0.01, block_threshold=1_000_000) as transfers:
        transfers.upload(
            store.will(*steps), folder / "file", content_type="application/zip", **{"deadline": 60, **changes}
        )


def test_a_large_upload_goes_in_blocks_each_tried_again_by_itself(store: Store, tmp_path: Path) -> None:
    in_blocks(store, tmp_path, 9_000_000, status(201), status(500), status(201))
    *requests, last = store.requests
    assert sorted(len(request.body) for request in requests) in (
        [611_392, 4_194_304, 4_194_304, 4_194_304],
        [611_392, 611_392, 4_194_304, 4_194_304],
    )
    blocks = sorted({request.path for request in requests})
    assert len(blocks) == 3
    assert "comp=blocklist" in last.path
    assert last.headers["x-ms-blob-content-type"] == "application/zip"
    listed = [name.partition(b"<")[0].decode() for name in last.body.split(b"<Latest>")[1:]]
    assert listed == [path.rpartition("=")[2] for path in blocks]  # in the file's order, whichever was stored first


def test_the_answers_to_several_blocks_are_waited_for_side_by_side(store: Store, tmp_path: Path) -> None:
    everybody = threading.Barrier(3, timeout=60)

    def together(handler: Handler) -> None:
        if "comp=block&" in handler.path:
            everybody.wait()
        handler.answer(201)

    in_blocks(store, tmp_path, 9_000_000, together)
    assert len(store.requests) == 4


def test_a_block_that_is_refused_ends_the_upload(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UrlRefused, match="HTTP 403"):
        in_blocks(store, tmp_path, 400_000_000, status(403))
    assert len(store.requests) < 48  # of 96 and the list: about one each for those that were under way


def test_the_progress_of_blocks_adds_up(store: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    in_blocks(store, tmp_path, 9_000_000, status(201), progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (9_000_000, 9_000_000)


class Tally(NoCounters):
    def __init__(self) -> None:
        self.moved: dict[str, int] = {"down": 0, "up": 0}

    def transferred(self, direction: Direction, size: int) -> None:
        self.moved[direction] += size


def test_every_byte_is_counted(store: Store, tmp_path: Path) -> None:
    tally = Tally()
    with Transfers(tally, block_threshold=1_000_000) as transfers:
        download(transfers, store.will(whole()), tmp_path)
        assert tally.moved == {"down": len(DATA), "up": 0}
        upload(transfers, store.will(status(201)), tmp_path, bytes(9_000_000))
        once(transfers, store.will(status(201)), tmp_path / "target")
    assert tally.moved == {"down": len(DATA), "up": 9_000_000 + len(DATA)}


def test_s3_gets_one_plain_put_however_large(store: Store, tmp_path: Path) -> None:
    store.will(status(200))
    with Transfers(block_threshold=10) as transfers:
        upload(transfers, SignedUrl(f"{store.url}/k?AWSAccessKeyId=a&Signature=b&Expires=1"), tmp_path)
    (request,) = store.requests
    assert request.body == DATA
    names = {name.lower() for name in request.headers}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "connection", "content-length"}


class GaveUpError(Exception):
    pass


def test_an_upload_that_is_given_up_half_way_ends_before_its_last_byte(
    store: Store, transfers: Transfers, tmp_path: Path
) -> None:
    (tmp_path / "log").write_bytes(DATA)

    def give_up(sent: int, size: int) -> None:
        if sent > size // 2:
            raise GaveUpError

    with pytest.raises(GaveUpError):
        once(transfers, store.will(status(201)), tmp_path / "log", progress=give_up)
    wait_until(lambda: bool(store.requests))  # noted when its body ends, however that is
    (seen,) = store.requests
    assert 0 < len(seen.body) < len(DATA)


def test_an_upload_that_is_tried_once_minds_the_version(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(DATA)
    assert once(transfers, store.will(status(201, ETag='"v2"')), tmp_path / "log", version='"v1"') == '"v2"'
    with pytest.raises(StoreUnavailable, match=r"HTTP 503, after 1 attempt$"):
        once(transfers, store.will(status(503)), tmp_path / "log")
    assert [seen.headers["If-Match"] for seen in store.requests] == ['"v1"', None]
    assert store.requests[0].body == DATA


def test_an_upload_that_is_tried_once_gives_up_a_silent_store(
    store: Store, transfers: Transfers, tmp_path: Path
) -> None:
    (tmp_path / "log").write_bytes(b"x")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        once(transfers, store.will(silence), tmp_path / "log", silence=0.3)
    assert time.monotonic() - began < SOON


def once(transfers: Transfers, url: SignedUrl, source: Path, **changes: Any) -> str:
    given = {"content_type": "text/plain", "deadline": LONG, "silence": 20, "progress": lambda *_: None, **changes}
    return transfers.upload_once(url, source, **given)
