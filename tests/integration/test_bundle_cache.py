"""The cache of bundles on a real disk, before a store that says what has changed, or does not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from protocol.urls import SignedUrl
from sandbox.errors import Cancelled
from sandbox.usage import Usage
from sandbox.wall import raise_wall, take_down
from tests.support.waiting import PATIENCE
from worker.archives.unpack import BadArchive
from worker.bundles.cache import BundleCache, open_cache
from worker.storage.errors import TooLarge, UrlRefused
from worker.storage.transfer import Transfers

KIB = 1 << 10
LIMIT = 1 << 30
DAY, NEXT_DAY = "Mon, 02 Feb 2026 12:00:00 GMT", "Tue, 03 Feb 2026 12:00:00 GMT"


def zip_like(size: int, seed: int = 1) -> bytes:
    return b"PK\3\4" + bytes([seed]) * (size - 4)


class Store(ThreadingHTTPServer):
    """`blobs` by path; counts the bytes of the bodies that it sends. `headers` say which version a body is of."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.sent = 0
        self.refuse = False
        self.heeds = True
        self.validator = "strong"
        self.asked = threading.Semaphore(0)
        """Released by each request, before it is answered."""
        self.held: Callable[[], object] = lambda: None
        """What a request waits for."""

    def url(self, name: str, query: str = "sig=1") -> SignedUrl:
        return SignedUrl(f"http://127.0.0.1:{self.server_port}/{name}?{query}")

    def headers(self, body: bytes) -> dict[str, str]:
        tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        return {
            "strong": {"ETag": tag},
            "weak": {"ETag": f"W/{tag}"},
            "modified": {"Last-Modified": DAY, "Date": NEXT_DAY},
            "just modified": {"Last-Modified": DAY, "Date": DAY},
            "none": {},
        }[self.validator]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.server.asked.release()
        self.server.held()
        body = self.server.blobs[self.path.partition("?")[0][1:]]
        headers = self.server.headers(body)
        asked = {headers.get("ETag"): "If-None-Match", headers.get("Last-Modified"): "If-Modified-Since"}
        same = any(value and self.headers[name] == value for value, name in asked.items())
        status = HTTPStatus.NOT_MODIFIED if same and self.server.heeds else HTTPStatus.OK
        status = HTTPStatus.FORBIDDEN if self.server.refuse or "forged" in self.path else status
        body = body if status is HTTPStatus.OK else b""
        self.server.sent += len(body)
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Worker:
    """Fetches bundles through a cache, which may be shared with another."""

    def __init__(self, folder: Path, store: Store, transfers: Transfers, most: int = 250 * KIB) -> None:
        self.hits: list[bool] = []
        cache = open_cache(folder / "cache", most / (1 << 30), transfers, self.hits.append)
        assert cache
        self.cache: BundleCache = cache
        self.shelf = folder / "cache" / "bundles"
        self.store = store
        self._aside = folder / "aside"
        self._aside.mkdir(exist_ok=True)

    def get(
        self,
        name: str,
        query: str = "sig=1",
        limit: int = LIMIT,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> bytes:
        target = self._aside / f"{threading.get_ident()}-{name}"
        try:
            url = self.store.url(name, query)
            with self.cache.bundle(url, target, limit=limit, deadline=PATIENCE, progress=progress) as file:
                return file.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    def moved(self, name: str, query: str = "sig=1") -> int:
        """Bytes of bodies that it takes to have that bundle, which is the right one."""
        before = self.store.sent
        assert self.get(name, query) == self.store.blobs[name]
        return self.store.sent - before

    def bundles(self) -> list[Path]:
        return sorted(path for path in self.shelf.iterdir() if len(path.name) == 129)


@pytest.fixture
def transfers() -> Iterator[Transfers]:
    with Transfers(attempts=2, first_wait=0.01) as made:
        yield made


@pytest.fixture
def worker(tmp_path: Path, store: Store, transfers: Transfers) -> Worker:
    store.blobs = {name: zip_like(100 * KIB, seed) for seed, name in enumerate("abcde")}
    return Worker(tmp_path, store, transfers)


def test_each_archive_that_was_there_or_was_not_is_told(worker: Worker) -> None:
    worker.get("a")
    worker.get("a")
    worker.store.blobs["a"] = zip_like(90 * KIB, 7)
    worker.get("a")
    worker.store.blobs["document"] = b"input: nothing that is kept"
    worker.get("document")
    worker.store.validator = "none"
    worker.get("b")
    assert worker.hits == [False, True, False, False]


def test_what_has_not_changed_is_not_sent_again_whatever_the_signature(worker: Worker) -> None:
    assert worker.moved("a") == 100 * KIB
    assert worker.moved("a", "sig=another&se=later") == 0


def test_what_has_changed_is_and_takes_the_place_of_what_was(worker: Worker) -> None:
    worker.moved("a")
    worker.store.blobs["a"] = zip_like(90 * KIB, 9)
    assert worker.moved("a") == 90 * KIB
    assert worker.moved("a") == 0
    assert [path.stat().st_size for path in worker.bundles()] == [90 * KIB]


def test_a_url_that_is_refused_opens_nothing(worker: Worker) -> None:
    worker.moved("a")
    worker.store.refuse = True
    with pytest.raises(UrlRefused):
        worker.get("a", "sig=forged")


@pytest.mark.parametrize(
    ("validator", "again"),
    [("strong", 0), ("modified", 0), ("weak", 100), ("just modified", 100), ("none", 100)],
)
def test_only_what_the_store_gives_a_sure_version_of_is_kept(worker: Worker, validator: str, again: int) -> None:
    worker.store.validator = validator
    worker.moved("a")
    assert worker.moved("a") == again * KIB
    assert len(worker.bundles()) == (again == 0)


def test_a_store_that_heeds_no_condition_sends_it_again_and_nothing_else_happens(worker: Worker) -> None:
    worker.store.heeds = False
    worker.moved("b")
    assert [worker.moved("a") for _ in range(3)] == [100 * KIB] * 3
    assert len(worker.bundles()) == 2


def test_documents_are_not_kept(worker: Worker) -> None:
    worker.store.blobs["a"] = b"ref: http://store/ref?sig=1\n"
    assert worker.moved("a") == worker.moved("a") > 0
    assert worker.bundles() == []


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))


def into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit": flip,
    "cut": lambda path: os.truncate(path, 1000),
    "gone": Path.unlink,
    "a folder": into_a_folder,
    "a link": into_a_link,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_fetched_anew_and_heals(worker: Worker, damage: str) -> None:
    worker.moved("a")
    DAMAGES[damage](worker.bundles()[0])
    assert worker.moved("a") == 100 * KIB
    if damage not in {"a folder", "a link"}:  # which nothing of ours makes
        assert worker.moved("a") == 0


RECORD = {"version": {"etag": '"1"', "modified": ""}, "size": 4, "digest": "0" * 64}


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({**RECORD, "version": {"etag": 5, "modified": ""}}),
        json.dumps({**RECORD, "version": {"etag": "a\nb", "modified": ""}}),
        json.dumps({**RECORD, "version": []}),
        json.dumps({**RECORD, "digest": "../../etc/passwd"}),
        json.dumps({**RECORD, "digest": None}),
        json.dumps({**RECORD, "size": "x"}),
        json.dumps(RECORD),
    ],
)
def test_a_damaged_record_is_none(worker: Worker, record: str) -> None:
    worker.moved("a")
    next(worker.shelf.glob("*.json")).write_text(record)
    assert worker.moved("a") == 100 * KIB
    assert worker.moved("a") == 0


def test_the_least_recently_used_leave_first(worker: Worker) -> None:
    for name in ("a", "b", "a", "c"):
        worker.moved(name)
    assert worker.moved("a") == 0
    assert worker.moved("c") == 0
    assert len(list(worker.shelf.glob("*.json"))) == len(worker.bundles()) == 2
    assert worker.moved("b") == 100 * KIB


def test_bytes_that_a_crash_left_without_a_record_are_taken_up_or_leave_in_their_turn(worker: Worker) -> None:
    for name in ("a", "b"):
        worker.moved(name)
        next(worker.shelf.glob("*.json")).unlink()
    assert [worker.moved("b") for _ in range(2)] == [100 * KIB, 0]
    assert len(worker.bundles()) == 2
    assert [worker.moved(name) for name in ("c", "b", "c")] == [100 * KIB, 0, 0]
    assert len(worker.bundles()) == 2


def test_a_bundle_that_is_larger_than_the_cache_is_used_but_not_kept(worker: Worker) -> None:
    worker.moved("a")
    worker.store.blobs["b"] = zip_like(300 * KIB)
    assert worker.moved("b") == worker.moved("b") == 300 * KIB
    assert worker.moved("a") == 0


def test_a_bundle_that_may_not_be_that_large_any_more_is_refused(worker: Worker) -> None:
    worker.moved("a")
    with pytest.raises(TooLarge):
        worker.get("a", limit=99 * KIB)


def test_what_is_read_stays_though_it_is_its_turn_to_leave(worker: Worker, tmp_path: Path) -> None:
    worker.moved("a")
    url, target = worker.store.url("a"), tmp_path / "target"
    with worker.cache.bundle(url, target, limit=LIMIT, deadline=PATIENCE, progress=lambda *_: None) as file:
        for name in ("b", "c", "d", "e"):
            worker.moved(name)
        assert file.read_bytes() == worker.store.blobs["a"]
        assert not target.exists()
    assert worker.moved("a") == 0


def test_nobody_else_may_read_it_and_it_is_never_executed(worker: Worker) -> None:
    worker.moved("a")
    assert stat.S_IMODE(worker.shelf.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in worker.shelf.iterdir()} == {0o600}
    (bundle,) = worker.bundles()
    assert bundle.stat().st_nlink == 1  # no other name is left, through which it could be changed


def test_a_cache_that_goes_away_costs_a_download_and_a_line_in_the_log(worker: Worker) -> None:
    worker.moved("a")
    shutil.rmtree(worker.shelf)
    worker.shelf.write_text("no folder")
    with capture_logs() as logs:
        assert worker.moved("a") == 100 * KIB
    assert {line["log_level"] for line in logs} == {"warning"}
    assert "sig=" not in str(logs)


def test_a_cache_whose_disk_is_full_costs_a_line_in_the_log(store: Store, transfers: Transfers, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    raise_wall(tmp_path, [tmp_path / "cache"], Usage(1 << 20, 50))
    try:
        worker = Worker(tmp_path, store, transfers, most=1 << 30)
        store.blobs = {"big": zip_like(4 << 20), "small": zip_like(200 * KIB)}
        with capture_logs() as logs:
            assert worker.moved("big") == 4 << 20
        assert [line["event"] for line in logs] == ["a bundle could not be cached"]
        assert list(worker.shelf.glob(".*")) == worker.bundles() == []
        worker.moved("small")  # from another file system, so it is copied
        assert worker.moved("small") == 0
    finally:
        take_down(tmp_path)


def test_a_folder_that_cannot_be_one_means_no_cache(tmp_path: Path, transfers: Transfers) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "bundles").symlink_to(tmp_path / "elsewhere")
    with capture_logs() as logs:
        for folder in (tmp_path / "file", tmp_path / "cache"):
            assert open_cache(folder, 1, transfers) is None
    assert len(logs) == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert open_cache(None, 1, transfers) is None


def test_a_check_of_a_cached_bundle_can_be_broken_off(worker: Worker, tmp_path: Path) -> None:
    worker.moved("a")

    def cancelled(_had: int, _total: int) -> None:
        raise Cancelled

    url = worker.store.url("a")
    with (
        pytest.raises(Cancelled),
        worker.cache.bundle(url, tmp_path / "target", limit=LIMIT, deadline=PATIENCE, progress=cancelled),
    ):
        pass
    assert worker.moved("a") == 0


def test_many_runs_of_several_workers_share_it(
    worker: Worker, store: Store, transfers: Transfers, tmp_path: Path
) -> None:
    workers = [worker, Worker(tmp_path, store, transfers)]
    wanted = ["abcde"[number * number % 11 % 5] for number in range(200)]

    def get(number: int) -> bool:
        return workers[number % 2].get(wanted[number]) == store.blobs[wanted[number]]

    with capture_logs() as logs, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(get, range(len(wanted))))
    assert not [line for line in logs if line["event"] == "a bundle could not be cached"]
    assert sum(path.stat().st_size for path in worker.bundles()) <= 250 * KIB
    assert list(worker.shelf.glob(".*")) == []


class Crowd:
    """Several runs of one worker that want the bundle `a` while its cache has none; the first is held at the store."""

    def __init__(self, worker: Worker, pool: ThreadPoolExecutor) -> None:
        self._worker = worker
        self._pool = pool
        self._gate = threading.Event()
        worker.store.held = self._gate.wait

    def first(self, query: str = "sig=1") -> Future[bytes]:
        first = self._pool.submit(self._worker.get, "a", query)
        assert self._worker.store.asked.acquire(timeout=PATIENCE)
        return first

    def others(self, count: int, then: Callable[[], None] = lambda: None) -> list[Future[bytes]]:
        """Those that wait for the first: they hear how far that is, and do `then` each time."""
        waiting = threading.Semaphore(0)

        def heard(_done: int, _total: int) -> None:
            waiting.release()
            then()

        others = [self._pool.submit(self._worker.get, "a", f"sig={n}", LIMIT, heard) for n in range(count)]
        assert all(waiting.acquire(timeout=PATIENCE) for _ in others)
        assert not self._worker.store.asked.acquire(blocking=False)
        return others

    def let_go(self) -> None:
        self._gate.set()


@pytest.fixture
def crowd(worker: Worker) -> Iterator[Crowd]:
    with ThreadPoolExecutor(6) as pool:
        made = Crowd(worker, pool)
        yield made
        made.let_go()


def test_runs_that_want_a_bundle_at_once_download_it_once(worker: Worker, crowd: Crowd) -> None:
    everybody = [crowd.first(), *crowd.others(4)]
    crowd.let_go()
    assert [run.result(PATIENCE) for run in everybody] == [worker.store.blobs["a"]] * 5
    assert worker.store.sent == 100 * KIB
    assert all(worker.store.asked.acquire(timeout=PATIENCE) for _ in range(4))  # each has asked by its own URL


def test_one_that_fails_fails_nobody_else_and_nobody_waits_for_the_next(worker: Worker, crowd: Crowd) -> None:
    first, others = crowd.first("sig=forged"), crowd.others(3)
    worker.store.held = threading.Barrier(3, timeout=PATIENCE).wait
    crowd.let_go()
    with pytest.raises(UrlRefused):
        first.result(PATIENCE)
    assert [run.result(PATIENCE) for run in others] == [worker.store.blobs["a"]] * 3


def test_one_that_is_broken_off_does_not_wait_for_the_first(worker: Worker, crowd: Crowd) -> None:
    def cancelled() -> None:
        raise Cancelled

    first, [other] = crowd.first(), crowd.others(1, cancelled)
    with pytest.raises(Cancelled):
        other.result(PATIENCE)
    crowd.let_go()
    assert first.result(PATIENCE) == worker.store.blobs["a"]


def test_what_cannot_be_kept_is_not_queued_for(worker: Worker, crowd: Crowd) -> None:
    worker.store.validator = "none"
    everybody = [crowd.first(), *crowd.others(3)]
    worker.store.held = threading.Barrier(3, timeout=PATIENCE).wait  # those after the first come side by side
    crowd.let_go()
    assert [run.result(PATIENCE) for run in everybody] == [worker.store.blobs["a"]] * 4


def test_what_turns_out_to_be_no_good_is_not_kept(worker: Worker, tmp_path: Path) -> None:
    url, target = worker.store.url("a"), tmp_path / "target"
    with (
        pytest.raises(BadArchive),
        worker.cache.bundle(url, target, limit=LIMIT, deadline=PATIENCE, progress=lambda *_: None),
    ):
        raise BadArchive("is damaged")
    assert worker.moved("a") == 100 * KIB
    assert worker.moved("a") == 0
