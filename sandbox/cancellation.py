"""Tells whoever waits or works on behalf of a run that nobody wants it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sandbox.errors import Cancelled


class Cancellation:
    """Set from any thread by `cancel`; what is under way is stopped by the functions that it was given."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cancelled = threading.Event()
        self._stops: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Calls every stop there is, again where it was called before."""
        with self._lock:
            self._cancelled.set()
            for stop in self._stops:
                stop()

    def check(self) -> None:
        """Raises `Cancelled` where `cancel` was called; takes no lock, so a stop may wait for one that is held here."""
        if self._cancelled.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Pauses for so long, less where it is cancelled. Raises `Cancelled`."""
        self._cancelled.wait(seconds)
        self.check()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """While the block lasts, `cancel` calls `stop`, which must return at once; at once where it was before."""
        with self._lock:
            self._stops.append(stop)
            if self._cancelled.is_set():
                stop()
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)
