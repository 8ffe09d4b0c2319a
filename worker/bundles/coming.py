"""Downloads that are under way in this process: who wants the same bundle waits for what is coming anyway."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum, auto

Progress = Callable[[int, int], None]


class Came(Enum):
    """How a bundle was fetched."""

    OURS = auto()  # by this very call
    THEIRS = auto()  # by another, meanwhile: it may be there now, or they failed
    NOT_FOR_OTHERS = auto()  # by another, and there is no use in waiting for the next


class Arrivals:
    """What is coming, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: dict[str, _Coming] = {}

    def fetch(self, key: str, fetch: Callable[[Progress], bool], progress: Progress) -> Came:
        """Calls `fetch`, or waits for the call of another thread for that key; `progress` hears of either.

        `fetch` says whether what it fetched is there for others, too. Raises what it raises, and what `progress`
        does; one who waits is not told how another's call failed.
        """
        mine = _Coming()
        with self._lock:
            coming = self._coming.setdefault(key, mine)
        if coming is not mine:
            return Came.THEIRS if coming.wait(progress) else Came.NOT_FOR_OTHERS
        for_others = True

        def heard(done: int, total: int) -> None:
            mine.told(done, total)
            progress(done, total)

        try:
            for_others = fetch(heard)
        finally:
            with self._lock:
                del self._coming[key]
            mine.end(for_others=for_others)
        return Came.OURS


class _Coming:
    """One of them: how far it is and, at its end, whether it is any use to others."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at = (0, 0)
        self._ended = False
        self._for_others = True

    def told(self, done: int, total: int) -> None:
        with self._changed:
            self._at = (done, total)
            self._changed.notify_all()

    def end(self, *, for_others: bool) -> None:
        with self._changed:
            self._ended, self._for_others = True, for_others
            self._changed.notify_all()

    def wait(self, progress: Progress) -> bool:
        at: tuple[int, int] | None = None
        while True:
            with self._changed:
                while not self._ended and self._at == at:
                    self._changed.wait()
                if self._ended:
                    return self._for_others
                at = self._at
            progress(*at)
