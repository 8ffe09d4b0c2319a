"""Whether the worker is alive, and whether it could work: what /healthz and /readyz say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sandbox.logs import size
from worker.watched import Watched

T = TypeVar("T")
_FRESH = 2.0  # seconds; however many look, the engine is asked no more often


class Glance(Generic[T]):
    """The answer to a question that costs something, remembered for a moment. For any thread."""

    def __init__(self, ask: Callable[[], T], fresh: float = _FRESH) -> None:
        self._ask = ask
        self._fresh = fresh
        self._lock = threading.Lock()
        self._answer: tuple[T, float] | None = None

    def __call__(self) -> T:
        """The answer, a moment old at most."""
        with self._lock:
            if self._answer is None or time.monotonic() - self._answer[1] > self._fresh:
                self._answer = self._ask(), time.monotonic()
            return self._answer[0]


class Health:
    """What is wrong, if anything is."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.is_engine_up = Glance(watched.engine)

    def ailments(self) -> tuple[str, ...]:
        """Why the worker is not alive: a restart may help."""
        return () if self._watched.alive() else ("the main thread does not come round: restart the worker",)

    def obstacles(self) -> tuple[str, ...]:
        """Why it could not take or work a run just now: whatever is named needs help, not the worker."""
        away = [f"the broker connection for {name} is down" for name, up in self._watched.links.items() if not up()]
        engine = [] if self.is_engine_up() else ["the container engine does not answer"]
        free, least = self._watched.free_disk(), self._watched.least_disk
        disk = [f"{size(free)} are free for the temp dir, and WORKER_MIN_FREE_DISK is {size(least)}"]
        return (*away, *engine, *(disk if free < least else ()))
