"""What every run needs at hand, gathered once by `worker.compose`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from config.settings import Settings
from protocol.status import StatusUpdate
from sandbox.runner import Container, Sandbox
from sandbox.slots import Slots
from worker.bundles.cache import BundleCache
from worker.kept.folders import TempDir
from worker.kept.image_stock import ImageStock
from worker.kept.journal import Journals
from worker.kept.walls import Walls
from worker.profiles import Profiles
from worker.storage.store import Store

Progress = Callable[[str, int, int], None]
"""Called with what is under way ("pull IMAGE", "download", …), how far it is and, 0 if unknown, how far it goes."""


class UpdateSink(Protocol):
    """Where status updates go."""

    def send(self, update: StatusUpdate, provided: Callable[[], bool], /) -> Future[None]:
        """Publishes in the order of the calls; the future is done when the update is surely stored.

        `provided` is asked, on any thread, just before it is published. Where it says no, it is not, and the future
        raises `WithdrawnError`.
        """
        ...


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
    """The resources and rules of this worker.

    `worker_id` goes on every container's labels. `remapped_root` is who a container's root is on the host (uid, gid),
    where that is not root itself. `slots` are what runs are dealt of the host while they compute. `disks` are what must
    have room for a run: the temp dir, and the engine's own folder where it is seen. `walls` makes file systems of
    a fixed size; None where none can be mounted.
    """

    settings: Settings
    worker_id: str
    sandbox: Sandbox
    images: ImageStock
    transfers: Store
    temp_dir: TempDir
    journals: Journals
    updates: UpdateSink
    profiles: Profiles
    slots: Slots
    disks: tuple[Path, ...]
    remapped_root: tuple[int, int] | None = None
    walls: Walls | None = None
    cache: BundleCache | None = None
    progress: Progress | None = field(default=None, repr=False)
