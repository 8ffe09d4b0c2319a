"""How another thread ends a run before its time, and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Protocol

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


class Claim(Protocol):
    """What the broker says of whose the run is."""

    @property
    def is_sure(self) -> bool:
        """True where it has just said that the run is ours."""
        ...

    def wait(self, given_up: Callable[[], bool]) -> bool:
        """Waits until it says so, or `given_up` while it cannot; tells which."""
        ...

    def wake(self) -> None:
        """Has `wait` look whether it was given up."""
        ...


class RunControl:
    """Lets another thread interrupt a run, wherever it is: in a container, a pull, or waiting for GPUs.

    `claim` is None where nobody else can have the run.
    """

    def __init__(self, claim: Claim | None = None) -> None:
        self._lock = threading.Lock()
        self._reasons: set[Interruption] = set()
        self._claim = claim
        self.cancellation = Cancellation()
        """For what takes long below the worker: cancelled with the first interruption."""

    @property
    def reason(self) -> Interruption | None:
        """The weightiest reason given so far, None where there was none."""
        with self._lock:
            return max(self._reasons, default=None)

    def interrupt(self, reason: Interruption = Interruption.GIVEN_BACK) -> None:
        """Stops what runs, now; the run ends with `InterruptedRunError`. From any thread, and more than once."""
        with self._lock:
            self._reasons.add(reason)
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

    @property
    def is_lost(self) -> bool:
        """True where the run is another worker's."""
        return self.reason is Interruption.LOST

    def check_not_lost(self) -> None:
        """Raises `InterruptedRunError` where `is_lost`."""
        if self.is_lost:
            raise InterruptedRunError

    @property
    def is_ours(self) -> bool:
        """True while the run is surely no other worker's; to be asked at the moment when the site is told."""
        return self._claim is None or self._claim.is_sure

    def wait_until_ours(self) -> None:
        """Waits until that is so. Raises `InterruptedRunError` where it is lost, or given back while none can tell."""
        if self._claim:
            with self.cancellation.stopping(self._claim.wake):
                if not self._claim.wait(self._is_given_up):
                    raise InterruptedRunError
        self.check_not_lost()

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
            if self.is_lost:
                lost()

        with self.cancellation.stopping(stop):
            yield

    def _is_given_up(self) -> bool:
        with self._lock:
            return not self._reasons.isdisjoint({Interruption.GIVEN_BACK, Interruption.LOST})
