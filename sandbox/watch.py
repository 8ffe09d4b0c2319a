"""Looks at what a container writes while it runs, and tells when a limit is exceeded.

Nobody can tell a worker that a folder has grown past a size, so it looks: every second where that is quick, and
less often the longer a look takes, so that no tree can keep a CPU busy. In between the free space of the disk,
which costs nothing to ask for, says whether there may be so much more that a look cannot wait.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from sandbox.bounds import broken, usage
from sandbox.engine import Bound, ScratchMeter
from sandbox.errors import SandboxError
from sandbox.outcome import ExitReason
from sandbox.usage import Usage

_TICK = 0.25  # seconds between two questions for the disk's free space
_PERIOD = 1.0  # and between two looks, where they are quick
_SPARING = 19  # times as long as a look took is the pause after it: a twentieth of one CPU
_URGENT = 3  # likewise, where the disk fills
_PATIENCE = 2.0  # seconds that the end of a container waits for a look under way

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Gauge:
    """One thing to look at: what it holds, the limit broken by that, and the bytes that may still be written."""

    look: Callable[[], Usage]
    broken_by: Callable[[Usage], ExitReason | None]
    size: int
    place: Path | None


class Watch:
    """Watches one container from a thread of its own; `hit` is called once, with the limit, from there.

    To be started before the container is, for what is limited by growth.
    """

    def __init__(self, bounds: tuple[Bound, ...], hit: Callable[[ExitReason], None]) -> None:
        self._bounds = bounds
        self._hit = hit
        self._ended = threading.Event()
        self._turns: list[_Turn] = []
        self._scratch: tuple[Callable[[], ScratchMeter], int] | None = None
        self._glance: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def add_scratch(self, find: Callable[[], ScratchMeter], limit: int) -> None:
        """From now on looks at what the container writes outside of its mounts, too.

        The meter is found from the watch's own thread, for nobody's end is to wait for that.
        """
        self._scratch = (find, limit)

    def add_glance(self, glance: Callable[[], object]) -> None:
        """From now on calls that at every turn, too; it takes next to no time."""
        self._glance = glance

    def close(self) -> None:
        """Ends it; a look that takes long is not waited for."""
        self._ended.set()
        self._thread.join(_PATIENCE)

    def _follow(self) -> None:
        for bound in self._bounds:
            self._turns.append(_Turn(_gauge(bound, self._ended.is_set)))
        while not self._ended.wait(_TICK):
            self._glance()
            self._find_scratch()
            for turn in self._turns:
                if turn.is_due() and (reason := turn.take()) and not self._ended.is_set():
                    self._hit(reason)
                    return

    def _find_scratch(self) -> None:
        """Once; an engine that is away is asked again."""
        if self._scratch is None:
            return
        find, limit = self._scratch
        try:
            self._turns.append(_Turn(_scratch_gauge(find(), limit)))
        except SandboxError as error:
            _log.debug("could not find what a container writes", reason=str(error))
        else:
            self._scratch = None


class _Turn:
    """When a gauge is to be looked at again."""

    def __init__(self, gauge: _Gauge) -> None:
        self._gauge = gauge
        self._left = gauge.size
        self._free = _free(gauge.place)
        self._due = time.monotonic() + _PERIOD
        self._earliest = 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        return now >= self._due or (now >= self._earliest and self._free - _free(self._gauge.place) > self._left)

    def take(self) -> ExitReason | None:
        """Looks; the limit that is broken, if one is."""
        began, free = time.monotonic(), _free(self._gauge.place)
        try:
            held = self._gauge.look()
        except SandboxError as error:
            _log.debug("could not look at what a container wrote", reason=str(error))
            held = Usage()
        now = time.monotonic()
        self._due = now + max(_PERIOD, _SPARING * (now - began))
        self._earliest = now + _URGENT * (now - began)
        self._left, self._free = self._gauge.size - held.size, free
        return self._gauge.broken_by(held)


def _gauge(bound: Bound, stopped: Callable[[], bool]) -> _Gauge:
    before = usage(bound, stopped) if bound.growth else Usage()
    return _Gauge(lambda: usage(bound, stopped) - before, partial(broken, bound), bound.most.size, bound.folders[0])


def _scratch_gauge(meter: ScratchMeter, limit: int) -> _Gauge:
    def broken_by(held: Usage) -> ExitReason | None:
        return ExitReason.SCRATCH_LIMIT if held.size > limit else None

    return _Gauge(lambda: Usage(meter.read()), broken_by, limit, meter.place)


def _free(place: Path | None) -> int:
    """Free bytes of its file system; 0 where they cannot be told, which is no loss either."""
    with suppress(OSError):
        if place:
            room = os.statvfs(place)
            return room.f_bfree * room.f_frsize
    return 0
