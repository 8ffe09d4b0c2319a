"""A disk without room is the platform's trouble, and may pass: told apart from bugs, and looked out for."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from protocol.faults import PassingFault
from sandbox.engine import ContainerEngine
from sandbox.engine_facts import HostFacts
from sandbox.host_paths import SAME_HOST
from sandbox.logs import size

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOTHING = 1 << 20  # bytes
_PERIOD = 5.0  # seconds between two looks at the free disk, for nobody can tell of it
_NO_ROOM = "The platform's worker has no room left on its disk."

MakeRoom = Callable[[frozenset[Path]], bool]
"""Gives something up for the sake of these places; False where there is nothing left to give."""

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

    `pause` and `resume` are called in turn, the first by `start` where there is no room from the beginning, all others
    from a thread of the guard's own. While it is short of room `make_room` is called there again and again, with the
    places that are, for as long as it says that it has given something up.
    """

    def __init__(
        self,
        places: Sequence[Path],
        least: int,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        make_room: MakeRoom = lambda _short: False,
        period: float = _PERIOD,
    ) -> None:
        self._places = places
        self._least = least
        self._pause = pause
        self._resume = resume
        self._make_room = make_room
        self._period = period
        self._paused = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="disk-guard", daemon=True)

    def start(self) -> None:
        """Looks at once, then every few seconds."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Ends it, without waiting for long where room is just being made."""
        self._ended.set()
        self._thread.join(_PERIOD)

    def look(self) -> None:
        """Looks now; tells where that has changed."""
        short = self._short()
        if short and not self._paused:
            place, free = next(iter(short.items()))
            _log.warning(
                "no new run is taken until there is room",
                place=str(place),
                free=size(int(free)),
                needed=size(self._least),
            )
            self._pause()
        elif self._paused and not short:
            _log.info("there is room again, runs are taken")
            self._resume()
        self._paused = bool(short)

    def _short(self) -> dict[Path, float]:
        """The places with too little room, and the bytes that are free there."""
        return {place: free for place in self._places if (free := _free(place)) < self._least}

    def _follow(self) -> None:
        while True:
            while not self._ended.is_set() and (short := self._short()) and self._make_room(frozenset(short)):
                pass
            if self._ended.wait(self._period):
                return
            self.look()


def watched_disks(temp_dir: Path, engine: ContainerEngine, host: HostFacts) -> tuple[Path, ...]:
    """What must have room for a run: the temp dir, and the engine's own folder where it is one of this machine.

    An engine behind a socket may be a virtual machine, or in another container's place; its folder is then another's.
    """
    here = engine.host_paths == SAME_HOST and host.name == os.uname().nodename
    root = Path(host.data_root) if host.data_root and here else None
    return (temp_dir, root) if root and root.is_dir() else (temp_dir,)


def _free(place: Path) -> float:
    """Bytes; no end of them where nobody can say, for whoever needs the place will find out."""
    try:
        room = os.statvfs(place)
    except OSError:
        return math.inf
    return room.f_bavail * room.f_frsize
