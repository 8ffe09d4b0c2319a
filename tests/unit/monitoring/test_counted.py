from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from protocol.urls import SignedUrl
from worker.counters import Direction, NoCounters
from worker.storage.counted import CountedStore
from worker.storage.store import VersionedStore
from worker.storage.version import Version

URL = SignedUrl("https://store/blob?sig=x")


class Tally(NoCounters):
    def __init__(self) -> None:
        self.moved: dict[Direction, int] = {"down": 0, "up": 0}

    def transferred(self, direction: Direction, size: int) -> None:
        self.moved[direction] += size


class ScriptedStore:
    """Moves as it is told: the positions that progress hears of."""

    def __init__(self, *positions: int) -> None:
        self.positions = positions

    def download(self, *_: Any, progress: Callable[[int, int], None], **_more: Any) -> int:
        self._move(progress)
        return self.positions[-1]

    def download_unless(self, *_: Any, progress: Callable[[int, int], None], **_more: Any) -> Version | None:
        self._move(progress)
        return Version(etag='"1"') if self.positions else None

    def upload(self, *_: Any, progress: Callable[[int, int], None], **_more: Any) -> None:
        self._move(progress)

    def upload_once(self, *_: Any, progress: Callable[[int, int], None], **_more: Any) -> str:
        self._move(progress)
        return "version"

    def _move(self, progress: Callable[[int, int], None]) -> None:
        for position in self.positions:
            progress(position, 100)


def moved(*positions: int) -> tuple[CountedStore, Tally]:
    tally = Tally()
    return CountedStore(cast("VersionedStore", ScriptedStore(*positions)), tally), tally


def test_bytes_are_counted_as_they_come() -> None:
    store, tally = moved(10, 60, 100)
    assert store.download(URL, Path("file"), deadline=1) == 100
    assert tally.moved == {"down": 100, "up": 0}


def test_what_has_not_changed_moves_nothing() -> None:
    store, tally = moved()
    assert store.download_unless(URL, Path("file"), known=Version(etag='"1"'), deadline=1) is None
    assert tally.moved == {"down": 0, "up": 0}
    store, tally = moved(40, 100)
    assert store.download_unless(URL, Path("file"), known=Version(), deadline=1)
    assert tally.moved == {"down": 100, "up": 0}


def test_whoever_listens_hears_it_too_and_may_break_off() -> None:
    store, tally = moved(10, 100)
    heard: list[tuple[int, int]] = []
    assert store.upload_once(
        URL, Path("f"), content_type="", deadline=1, silence=1, progress=lambda *at: heard.append(at)
    )
    assert heard == [(10, 100), (100, 100)]
    assert tally.moved == {"down": 0, "up": 100}


def test_what_is_sent_again_is_counted_again_but_for_one_piece() -> None:
    store, tally = moved(10, 60, 10, 60, 100)
    store.upload(URL, Path("file"), content_type="", deadline=1)
    assert tally.moved["up"] == 60 + 50 + 40
