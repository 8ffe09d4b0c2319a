"""Ends a container in time, whatever the container, its output or the engine does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Protocol

import structlog

from sandbox.errors import SandboxError
from sandbox.outcome import ExitReason

# How long after a kill the last output may take to be read.
_END_OF_OUTPUT = 1.0
# Between two tries of a signal that did not reach the engine, or did not end the container.
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
# Whoever fills the disk would go on with it until the grace is over.
_WITHOUT_GRACE = {ExitReason.OUTPUT_LIMIT, ExitReason.OUTPUT_FILES_LIMIT, ExitReason.SCRATCH_LIMIT}

log = structlog.get_logger(__name__)


class Signals(Protocol):
    """The one thing that a watchdog asks of an engine; it must not take longer than a few seconds."""

    def signal(self, container: str, name: str) -> None:
        """Sends a signal; no error where the container has ended."""
        ...


class Watchdog:
    """Watches one container from a thread of its own: SIGTERM at the limit, SIGKILL after the grace.

    It looks at nothing but a monotonic clock, and is told of the container's end by `ended`; a kill
    is repeated until then. `end` cuts the limit short; asked before `arm`, it holds from there on.
    `let_go` is called where a killed container does not end, from that thread: it is to close the
    container's attachment, for an engine reports no end while somebody attached does not read.
    """

    def __init__(self, engine: Signals, let_go: Callable[[], None]) -> None:
        self._engine = engine
        self._let_go = let_go
        self._changed = threading.Condition()
        self._cause: ExitReason | None = None
        self._most_grace = float("inf")
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def cause(self) -> ExitReason | None:
        """Why the container was ended, None where it was not."""
        with self._changed:
            return self._cause

    def arm(self, container: str, *, time_limit: float, grace: float) -> None:
        """Starts the clock; both times are seconds."""
        arguments = (self._watch, container, time_limit, grace)
        # What it logs is bound to the run that this thread works on.
        self._thread = threading.Thread(target=copy_context().run, args=arguments, name="watchdog", daemon=True)
        self._thread.start()

    def end(self, cause: ExitReason, *, most_grace: float = float("inf")) -> None:
        """Has the container ended now, for that reason; the first reason stays. From any thread.

        `most_grace` cuts the grace short, of a SIGTERM that was sent before, too.
        """
        with self._changed:
            if not self._ended:
                self._cause = self._cause or cause
                self._most_grace = min(self._most_grace, most_grace)
            self._changed.notify_all()

    def ended(self) -> None:
        """The container has ended, or nothing can be done for it any more: the thread goes."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, container: str, time_limit: float, grace: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._cause is not None, time_limit)
            if self._ended:
                return
            self._cause = self._cause or ExitReason.TIME_LIMIT
            grace = 0.0 if self._cause in _WITHOUT_GRACE else grace
        self._terminate(container, grace)

    def _terminate(self, container: str, grace: float) -> None:
        began = time.monotonic()  # a SIGTERM that is slow to send delays no SIGKILL
        self._send(container, "SIGTERM")
        if self._has_ended_in_grace(began, grace):
            return
        killed = time.monotonic()
        for pause in _pauses():
            self._send(container, "SIGKILL")
            if time.monotonic() > killed + _END_OF_OUTPUT:
                self._let_go()
            if self._has_ended_within(pause):
                return

    def _send(self, container: str, name: str) -> None:
        try:
            self._engine.signal(container, name)
        except SandboxError as error:
            log.warning("signal not sent", container=container, signal=name, reason=str(error))

    def _has_ended_in_grace(self, began: float, grace: float) -> bool:
        with self._changed:
            while not self._ended:
                left = began + min(grace, self._most_grace) - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _has_ended_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, seconds)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
