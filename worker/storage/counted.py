"""A store whose bytes are counted as they move, by the progress that it tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protocol.urls import SignedUrl
from worker.counters import Counters, Direction
from worker.storage.store import VersionedStore
from worker.storage.version import Version

Progress = Callable[[int, int], None]


class CountedStore:
    """Any store; what is sent again after a break is counted again, but for the piece that it broke off in."""

    def __init__(self, store: VersionedStore, counters: Counters) -> None:
        self._store = store
        self._counters = counters

    def download(
        self,
        url: SignedUrl,
        target: Path,
        *,
        limit: int | None = None,
        deadline: float,
        progress: Progress | None = None,
    ) -> int:
        """As in `Store`."""
        counting = self._counting("down", progress)
        return self._store.download(url, target, limit=limit, deadline=deadline, progress=counting)

    def download_unless(
        self,
        url: SignedUrl,
        target: Path,
        *,
        known: Version,
        limit: int | None = None,
        deadline: float,
        progress: Progress | None = None,
    ) -> Version | None:
        """As in `VersionedStore`."""
        counting = self._counting("down", progress)
        return self._store.download_unless(url, target, known=known, limit=limit, deadline=deadline, progress=counting)

    def upload(
        self, url: SignedUrl, source: Path, *, content_type: str, deadline: float, progress: Progress | None = None
    ) -> None:
        """As in `Store`."""
        counting = self._counting("up", progress)
        self._store.upload(url, source, content_type=content_type, deadline=deadline, progress=counting)

    def upload_once(
        self,
        url: SignedUrl,
        source: Path,
        *,
        content_type: str,
        deadline: float,
        silence: float,
        progress: Progress,
        version: str = "",
    ) -> str:
        """As in `Store`."""
        return self._store.upload_once(
            url,
            source,
            content_type=content_type,
            deadline=deadline,
            silence=silence,
            progress=self._counting("up", progress),
            version=version,
        )

    def _counting(self, direction: Direction, progress: Progress | None) -> Progress:
        last = 0

        def heard(done: int, total: int) -> None:
            nonlocal last
            if done > last:
                self._counters.transferred(direction, done - last)
            last = done
            if progress:
                progress(done, total)

        return heard
