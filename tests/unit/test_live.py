"""Live files with a store that is scripted: what they may cost, and how they end."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.settings import Settings
from protocol.run import Role, RunRequest, UploadSlot
from protocol.urls import SignedUrl
from sandbox.engine import Stream
from tests.unit.test_pipeline import REQUEST
from worker.kept.folders import RunFolder
from worker.stages import live
from worker.storage.errors import StoreUnavailable, UrlRefused
from worker.tools import Tools

WAIT = 20.0  # seconds at most
PERIOD = 0.001  # seconds between two looks
URLS = {slot: SignedUrl(f"https://store/{slot}?sig=x") for slot in UploadSlot}


class Store:
    """Notes what it is given, version by version; `script` is what happens to the first, second, … upload."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, bytes, str]] = []
        self.script: list[Callable[..., None]] = []
        self.changed = threading.Condition()

    def upload_once(self, url: SignedUrl, source: Path, *, progress: Any, version: str, **_: Any) -> str:
        if self.script:
            self.script.pop(0)(progress)
        with self.changed:
            self.stored.append((url.reveal().split("/")[3].split("?")[0], source.read_bytes(), version))
            self.changed.notify_all()
            return f"v{len(self.stored)}"

    def has(self, count: int, timeout: float = WAIT) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.stored) >= count, timeout)


class Scene:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.store = Store()
        self.request: RunRequest = replace(REQUEST, uploads=URLS)
        settings = Settings(worker_live_logs=PERIOD)
        self.tools = cast("Tools", SimpleNamespace(settings=settings, transfers=self.store))

    def live(self) -> AbstractContextManager[None]:
        return live.live_results(self.request, self.folder, self.tools)

    def page(self, size: int) -> None:
        with (self.folder.output / "detailed_results.html").open("wb") as page:
            page.truncate(size)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    folder = RunFolder(tmp_path)
    folder.output.mkdir(parents=True)
    folder.outbox.mkdir()
    return Scene(folder)


@pytest.fixture
def log(scene: Scene) -> Iterator[Callable[[bytes], None]]:
    with scene.folder.open_logs(Role.PARTICIPANT, 0, 1 << 30) as logs:
        yield lambda data: logs.write(Stream.STDOUT, data)


def raising(error: Exception) -> Callable[[Any], None]:
    def step(_progress: Any) -> None:
        raise error

    return step


def test_each_file_replaces_the_version_before_it(scene: Scene, log: Callable[[bytes], None]) -> None:
    with scene.live():
        log(b"one ")
        assert scene.store.has(1)
        log(b"two")
        assert scene.store.has(2)
    assert scene.store.stored == [("stdout_url", b"one ", ""), ("stdout_url", b"one two", "v1")]


def test_an_upload_that_was_stored_after_all_is_replaced(scene: Scene, log: Callable[[bytes], None]) -> None:
    url = URLS[UploadSlot.STDOUT]
    gone, stale = StoreUnavailable(url, "no answer"), UrlRefused(url, "HTTP 412", status=412)
    scene.store.script = [lambda _: None, raising(gone), raising(stale)]
    with scene.live():
        log(b"one ")
        assert scene.store.has(1)
        log(b"two")
        assert scene.store.has(2)
    assert scene.store.stored[-1] == ("stdout_url", b"one two", "")


def test_what_is_refused_is_not_offered_again(scene: Scene, log: Callable[[bytes], None]) -> None:
    scene.store.script = [raising(UrlRefused(URLS[UploadSlot.STDOUT], "HTTP 403", status=403))]
    log(b"one ")
    scene.page(10)
    with scene.live():
        assert scene.store.has(1)
        log(b"two")
        scene.page(20)
        assert scene.store.has(2)
    assert {slot for slot, _, _ in scene.store.stored} == {"detailed_results_url"}


def test_a_file_that_is_too_large_is_left_for_the_end(scene: Scene, log: Callable[[bytes], None]) -> None:
    scene.page(live._LARGEST + 1)
    with scene.live():
        log(b"one")
        assert scene.store.has(1)
        log(b"two")
        assert scene.store.has(2)
    assert {slot for slot, _, _ in scene.store.stored} == {"stdout_url"}


class OneLook(threading.Event):
    """Is set after one look; `pauses` are those that were to be made before it and after it, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        return len(self.pauses) > 1


@pytest.mark.parametrize(("size", "taken", "pause"), [(9, 0.0, PERIOD), (1 << 20, 0.0, 4.0), (9, 2.0, 18.0)])
def test_much_or_slow_work_is_done_less_often(
    scene: Scene,
    log: Callable[[bytes], None],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    taken: float,
    pause: float,
) -> None:
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=iter([0.0, taken]).__next__))
    looks = OneLook()
    following = live._Live(scene.request, scene.folder, scene.tools)
    following.ended = looks
    log(bytes(size))
    following.follow(PERIOD)
    assert looks.pauses == [PERIOD, pause]
    assert len(scene.store.stored) == 1


def test_the_end_stops_what_is_being_sent(scene: Scene, log: Callable[[bytes], None]) -> None:
    sending = threading.Event()

    def slow(progress: Callable[[int, int], None]) -> None:
        for sent in range(6000):
            progress(sent, 6000)
            sending.set()
            time.sleep(0.01)

    scene.store.script = [slow]
    began = time.monotonic()
    with scene.live():
        log(b"one")
        assert sending.wait(WAIT)
    assert time.monotonic() - began < WAIT  # and not a minute
    assert scene.store.stored == []


def test_the_end_is_not_held_up_for_ever(
    scene: Scene, log: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_END_WAIT", 0.01)
    sending, over = threading.Event(), threading.Event()

    def hang(_progress: Any) -> None:
        sending.set()
        over.wait(60)

    scene.store.script = [hang]
    with scene.live():
        log(b"one")
        assert sending.wait(WAIT)
        ending = time.monotonic()
    assert 0.009 < time.monotonic() - ending < WAIT
    over.set()
    assert scene.store.has(1)


def test_a_page_that_grows_while_it_is_copied_is_copied_as_far_as_it_was_looked_at(tmp_path: Path) -> None:
    live._copy_start(cast("Any", io.BytesIO(b"0123456789")), 4, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"0123"


def test_where_there_is_no_place_or_no_wish_nothing_is_done(scene: Scene) -> None:
    before = set(threading.enumerate())
    scene.request = replace(scene.request, uploads={})
    with scene.live():
        assert set(threading.enumerate()) <= before
