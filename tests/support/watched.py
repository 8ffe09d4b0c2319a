"""A container that a watchdog watches, by its clock alone: no engine, no program."""

from __future__ import annotations

import threading
import time

from sandbox.errors import EngineUnreachable
from sandbox.watchdog import Watchdog
from tests.support.waiting import wait_until


class Watched:
    """Notes the signals; fails the first `failures` of them, and ends the container at `ends_at`."""

    def __init__(self, ends_at: str | None = None, failures: int = 0) -> None:
        self.sent: list[tuple[str, float]] = []
        self.let_go = threading.Event()
        self.watchdog = Watchdog(self, self.let_go.set)
        self.done = threading.Event()
        self._ends_at = ends_at
        self._failures = failures

    def signal(self, container: str, name: str) -> None:
        assert container == "c"
        self.sent.append((name, time.monotonic()))
        if len(self.sent) <= self._failures:
            raise EngineUnreachable("not now")
        if name == self._ends_at:
            threading.Thread(target=self._end).start()
            wait_until(lambda: self.watchdog._ended)  # before the watchdog, on whose thread this is, might send again

    def _end(self) -> None:
        self.watchdog.ended()
        self.done.set()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sent]
