"""A disk without room is the platform's trouble, and may pass: told apart from bugs, and looked out for."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from protocol.faults import PassingFault
from sandbox.logs import size

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOTHING = 1 << 20  # bytes
_PERIOD = 5.0  # seconds between two looks at the free disk, for nobody can tell of it
_NO_ROOM = "The platform's worker has no room left on its disk."

_log = structlog.get_logger(__name__)


def is_full(error: OSError) -> bool:
    """Whether the disk, or what of it we may use, has no room (bytes or files) left."""
    return error.errno in _FULL


@contextmanager
def room_needed() -> Iterator[None]:
    """Raises `PassingFault` in place of an `OSError` that says that the disk is full."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise PassingFault(_NO_ROOM, detail=str(error)) from error


def check_room(folder: Path) -> None:
    """Raises `PassingFault` where the disk has filled up: what was written behind a wall may be lost without a word."""
    room = os.statvfs(folder)
    if room.f_bfree * room.f_frsize < _NOTHING:
        raise PassingFault(_NO_ROOM, detail=f"less than a MiB is free for {folder}")


class DiskGuard:
    """Has no new run taken while one of `places` has less than `least` bytes free for us.

    `pause` and `resume` are called in turn, the first by `start` where there is no room from the beginning, later ones
    from a thread of the guard's own.
    """

    def __init__(
        self,
        places: Sequence[Path],
        least: int,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        period: float = _PERIOD,
    ) -> None:
        self._places = places
        self._least = least
        self._pause = pause
        self._resume = resume
        self._period = period
        self._paused = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="disk-guard", daemon=True)

    def start(self) -> None:
        """Looks at once, then every few seconds."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._ended.set()
        self._thread.join()

    def look(self) -> None:
        """Looks now; tells where that has changed."""
        short = [(place, free) for place in self._places if (free := _free(place)) < self._least]
        if short and not self._paused:
            place, free = short[0]
            _log.warning(
                "no new run is taken until there is room", place=str(place), free=size(free), needed=size(self._least)
            )
            self._pause()
        elif self._paused and not short:
            _log.info("there is room again, runs are taken")
            self._resume()
        self._paused = bool(short)

    def _follow(self) -> None:
        while not self._ended.wait(self._period):
            self.look()


def _free(place: Path) -> int:
    room = os.statvfs(place)
    return room.f_bavail * room.f_frsize
