"""What the main thread waits for: signals, refusals, runs that end, and whoever asks whether it is alive."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from worker.service_manager import ServiceManager
from worker.signals import REREAD

_PULSE = 3.0  # seconds that the main thread may take to come round


@dataclass(frozen=True, slots=True)
class Signalled:
    """The process got a signal."""

    name: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who may has asked the worker, by Celery's remote control, to finish its runs and end."""

    name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker will not have us."""

    reason: str


@dataclass(frozen=True, slots=True)
class Idle:
    """A run has come to its end, and nothing is left of it."""


@dataclass(frozen=True, slots=True)
class Reread:
    """The settings are to be read again."""


Event = Signalled | Asked | Refused | Idle | Reread


@dataclass(frozen=True, slots=True)
class _Pulse:
    """`felt` is the main thread's answer."""

    felt: threading.Event = field(default_factory=threading.Event)


class Happenings:
    """A queue of events, filled from any thread and emptied by the main one, whose waiting is a sign of life."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._queue: SimpleQueue[Event | _Pulse] = SimpleQueue()
        self._ending = False

    def next(self, deadline: float = math.inf) -> Event | None:
        """The next event, None at the deadline; the service manager hears meanwhile that this thread is alive."""
        while (left := deadline - time.monotonic()) > 0:
            self._manager.alive()
            wait = min(left, self._manager.period or math.inf)
            with suppress(Empty):
                event = self._queue.get(timeout=None if wait == math.inf else wait)
                if not isinstance(event, _Pulse):
                    return event
                event.felt.set()
        return None

    def ending(self) -> None:
        """Nobody waits any more: the process is on its way to the end, and alive."""
        self._ending = True

    def is_alive(self) -> bool:
        """From another thread: whether the main thread comes round, or is on its way to the end."""
        pulse = _Pulse()
        self._queue.put(pulse)
        return pulse.felt.wait(_PULSE) or self._ending

    def refused(self, reason: str) -> None:
        """The broker will not have us."""
        self._queue.put(Refused(reason))

    def idle(self) -> None:
        """A run has come to its end, and nothing is left of it."""
        self._queue.put(Idle())

    def asked_to_end(self) -> None:
        """By remote control."""
        self._queue.put(Asked("shutdown"))

    def signalled(self, name: str) -> None:
        """The process got that signal."""
        self._queue.put(Reread() if name == REREAD else Signalled(name))
