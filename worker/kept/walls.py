"""Walls for runs, some made before there is a run for them: one that has come does not wait for mkfs and mount."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import structlog

from sandbox.usage import Usage
from sandbox.wall import WallError, make_wall, move_wall, stands
from worker.kept.folders import remove_folder

_log = structlog.get_logger(__name__)


class Walls:
    """Makes walls that hold `most` each. Once `keep_ready` was called some wait in `place`, on the disk of the runs.

    Those are made one at a time, on a thread of its own. Its calls may come from any thread.
    """

    def __init__(self, place: Path, most: Usage) -> None:
        self._place = place
        self.most = most
        self._ready: list[Path] = []
        self._wanted = 0
        self._in_making = 0
        self._lock = threading.Lock()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="wall")  # without a thread until one is wanted

    def keep_ready(self, count: int) -> None:
        """Begins to make so many."""
        self._wanted = count
        self.refill()

    def make(self, root: Path) -> None:
        """Has a wall in that folder of a run, with nothing behind it yet. Raises `WallError` or `OSError`."""
        if spare := self._taken():
            move_wall(spare, root)
            spare.rmdir()
        else:
            make_wall(root, self.most)

    def refill(self) -> None:
        """Has made what is missing, beside whatever comes next."""
        with self._lock:
            missing = self._wanted - len(self._ready) - self._in_making
            self._in_making += missing
        for _ in range(missing):
            self._maker.submit(self._make_ready)

    def close(self) -> None:
        """Removes those that no run has."""
        self._maker.shutdown(cancel_futures=True)
        with self._lock:
            self._ready.clear()
        remove_folder(self._place)

    def _taken(self) -> Path | None:
        with self._lock:
            while self._ready:
                if stands(spare := self._ready.pop()):
                    return spare
        return None

    def _make_ready(self) -> None:
        made = None
        try:
            made = self._made()
        finally:
            with self._lock:
                self._in_making -= 1
                self._ready += [made] if made else []

    def _made(self) -> Path | None:
        """None where what room there is had better be left to the runs, or it fails: they find out for themselves."""
        spare = self._place / uuid4().hex[:8]
        try:
            if shutil.disk_usage(self._place.parent).free < self.most.size:
                return None
            spare.mkdir(mode=0o700, parents=True)
            make_wall(spare, self.most)
        except (WallError, OSError) as error:
            remove_folder(spare)
            _log.info("no wall could be made ahead", reason=str(error))
            return None
        return spare
