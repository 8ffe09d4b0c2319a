"""How another thread ends a run before its time, and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from sandbox.cancellation import Cancellation
from sandbox.errors import Cancelled
from sandbox.runner import Container


class Interruption(IntEnum):
    """Why the worker itself ends a run; the greater reason outranks the lesser."""

    GIVEN_BACK = 1
    """The worker shuts down: nothing is told to the site, and another worker may have the run at once."""
    CANCELLED = 2
    """Whoever may does not want it any more: the site is told so."""
    LOST = 3
    """The broker gives it to another worker: not a word to anyone, and not a second longer."""


_MOST_GRACE = {Interruption.GIVEN_BACK: float("inf"), Interruption.CANCELLED: 0.5, Interruption.LOST: 0.0}
"""Seconds between SIGTERM and SIGKILL at most: a cancelled container is gone within two."""


class InterruptedRunError(Exception):
    """The worker itself ended the run; `RunControl.reason` says why."""


class RunControl:
    """Lets another thread interrupt a run, wherever it is: in a container, a pull, or waiting for GPUs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: Interruption | None = None
        self.cancellation = Cancellation()
        """For what takes long below the worker: cancelled with the first interruption."""

    @property
    def reason(self) -> Interruption | None:
        """The weightiest reason given so far, None where there was none."""
        with self._lock:
            return self._reason

    def interrupt(self, reason: Interruption = Interruption.GIVEN_BACK) -> None:
        """Stops what runs, now; the run ends with `InterruptedRunError`. From any thread, and more than once."""
        with self._lock:
            self._reason = max(reason, self._reason or reason)
        self.cancellation.cancel()

    def check(self) -> None:
        """Raises `InterruptedRunError` where `interrupt` was called."""
        if self.reason:
            raise InterruptedRunError

    def wait(self, seconds: float) -> None:
        """Lets time pass. Raises `InterruptedRunError` as soon as `interrupt` is called."""
        try:
            self.cancellation.sleep(seconds)
        except Cancelled:
            raise InterruptedRunError from None

    def check_not_lost(self) -> None:
        """Raises `InterruptedRunError` where the run is another worker's: to be called before the site is told."""
        if self.reason is Interruption.LOST:
            raise InterruptedRunError

    @contextmanager
    def watching(self, container: Container) -> Iterator[None]:
        """While it lasts, `interrupt` stops that container."""

        def stop() -> None:
            container.stop(most_grace=_MOST_GRACE[self.reason or Interruption.GIVEN_BACK])

        with self.cancellation.stopping(stop):
            yield
        self.check()

    @contextmanager
    def losing(self, lost: Callable[[], object]) -> Iterator[None]:
        """While it lasts, `lost` is called when the run becomes another worker's."""

        def stop() -> None:
            if self.reason is Interruption.LOST:
                lost()

        with self.cancellation.stopping(stop):
            yield
