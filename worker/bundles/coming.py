"""Downloads that are under way in this process: who wants the same bundle waits for what is coming anyway."""

from __future__ import annotations

import threading
from collections.abc import Callable

Progress = Callable[[int, int], None]


class Arrivals:
    """What is coming, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: dict[str, _Coming] = {}

    def fetch(self, key: str, fetch: Callable[[Progress], bool], progress: Progress) -> bool:
        """Calls `fetch`, which says whether others can have it now, too; or waits for another thread that does.

        False where another has fetched it for all. Where that failed, or what came cannot be shared, all who waited
        fetch it themselves, side by side: a store that is away must not keep them in a queue. Raises what `fetch`
        and `progress` raise; the latter hears of what is waited for as well.
        """
        mine = _Coming()
        with self._lock:
            coming = self._coming.setdefault(key, mine)
        if coming is mine:
            self._first(key, mine, fetch, progress)
        elif coming.wait(progress):
            return False
        else:
            fetch(progress)
        return True

    def _first(self, key: str, mine: _Coming, fetch: Callable[[Progress], bool], progress: Progress) -> None:
        def heard(done: int, total: int) -> None:
            mine.told(done, total)
            progress(done, total)

        for_all = False
        try:
            for_all = fetch(heard)
        finally:
            with self._lock:
                del self._coming[key]
            mine.end(for_all=for_all)


class _Coming:
    """One of them: how far it is and, at its end, whether all can have it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at = (0, 0)
        self._ended = False
        self._for_all = False

    def told(self, done: int, total: int) -> None:
        with self._changed:
            self._at = (done, total)
            self._changed.notify_all()

    def end(self, *, for_all: bool) -> None:
        with self._changed:
            self._ended, self._for_all = True, for_all
            self._changed.notify_all()

    def wait(self, progress: Progress) -> bool:
        at: tuple[int, int] | None = None
        while True:
            with self._changed:
                while not self._ended and self._at == at:
                    self._changed.wait()
                if self._ended:
                    return self._for_all
                at = self._at
            progress(*at)
