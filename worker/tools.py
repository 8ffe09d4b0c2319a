"""What every run needs at hand, gathered once by `worker.compose`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from config.settings import Settings
from protocol.status import StatusUpdate
from sandbox.gpu import GpuAllotment
from sandbox.runner import Container, Sandbox
from worker.folders import TempDir
from worker.journal import Journals
from worker.profiles import Profiles
from worker.storage.store import Store

Progress = Callable[[str, int, int], None]
"""Called with what is under way ("pull IMAGE", "download", …), how far it is and, 0 if unknown, how far it goes."""


class InterruptedRunError(Exception):
    """The worker itself ended the run, to give it back: nothing is told to the site."""


class UpdateSink(Protocol):
    """Where status updates go."""

    def send(self, update: StatusUpdate) -> Future[None]:
        """Publishes in the order of the calls; the future is done when the update is surely stored."""
        ...


class RunControl:
    """Lets another thread interrupt a run, whichever containers it is in."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._interrupted = False
        self._containers: set[Container] = set()

    def wait(self, seconds: float) -> None:
        """Lets time pass. Raises `InterruptedRunError` as soon as `interrupt` is called."""
        with self._lock:
            self._lock.wait_for(lambda: self._interrupted, seconds)
        self.check()

    def interrupt(self) -> None:
        """Stops what runs, now; the run ends with `InterruptedRunError`."""
        with self._lock:
            self._interrupted = True
            self._lock.notify_all()
            for container in self._containers:
                container.stop()

    def check(self) -> None:
        """Raises `InterruptedRunError` where `interrupt` was called."""
        with self._lock:
            if self._interrupted:
                raise InterruptedRunError

    @contextmanager
    def watching(self, container: Container) -> Iterator[None]:
        """While it lasts, `interrupt` stops that container."""
        with self._lock:
            if self._interrupted:
                raise InterruptedRunError
            self._containers.add(container)
        try:
            yield
        finally:
            with self._lock:
                self._containers.discard(container)
        self.check()


class Peers:
    """Containers that run side by side, so that all can be stopped when one fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._containers: set[Container] = set()

    def stop(self) -> None:
        """Stops those that run, and any that comes later."""
        with self._lock:
            self._stopped = True
            for container in self._containers:
                container.stop()

    def join(self, container: Container) -> None:
        """Adds one that is about to run."""
        with self._lock:
            self._containers.add(container)
            if self._stopped:
                container.stop()


@dataclass(frozen=True, slots=True)
class Tools:
    """The resources and rules of this worker. `worker_id` goes on every container's labels."""

    settings: Settings
    worker_id: str
    sandbox: Sandbox
    transfers: Store
    temp_dir: TempDir
    journals: Journals
    updates: UpdateSink
    profiles: Profiles
    gpus: GpuAllotment | None = None
    progress: Progress | None = field(default=None, repr=False)
