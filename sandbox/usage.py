"""How much folders hold, while somebody hostile writes to them: nothing is followed, nothing is sorted or kept.

Every name is looked up below the descriptor of its folder. Of a folder's contents only the names of folders are
remembered, and a walk ends as soon as it has met more than was asked about, so neither a million names nor
thousands of levels cost more memory than that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Levels whose descriptors are kept: whatever is moved about up there, the walk comes back to where it was.
_HELD = 64
_BLOCK = 512  # bytes; the unit of st_blocks, whatever the file system's own


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes, and names: files, folders, links and all else that a folder holds, each name by itself."""

    size: int = 0
    names: int = 0

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.size - other.size, self.names - other.names)

    def exceeds(self, most: Usage) -> bool:
        """True where it is more than that of either."""
        return self.size > most.size or self.names > most.names


Sizer = Callable[[os.stat_result], int]
"""Bytes of one name's file."""


def apparent(status: os.stat_result) -> int:
    """As many bytes as reading it gives: holes count, and so does a file under each of its names."""
    return status.st_size


def on_disk(status: os.stat_result) -> int:
    """The bytes that it takes on the disk; a file of several names is shared out among them."""
    return status.st_blocks * _BLOCK // max(1, status.st_nlink)


def measure(
    folders: Iterable[Path],
    *,
    most: Usage | None = None,
    sizer: Sizer = apparent,
    stopped: Callable[[], bool] = lambda: False,
) -> Usage:
    """What the folders hold together; the walk ends early once that is more than `most`, or `stopped` says so.

    What may not be looked into, or vanishes meanwhile, is passed over; a folder that is missing holds nothing.
    """
    tally = _Tally(most, sizer, stopped)
    for folder in folders:
        with suppress(OSError):
            _Walk(os.open(folder, _FOLDER), tally).run()
    return Usage(tally.size, tally.names)


class _Tally:
    """What a measurement has come to so far."""

    def __init__(self, most: Usage | None, sizer: Sizer, stopped: Callable[[], bool]) -> None:
        self.size = self.names = 0
        self.stopped = stopped
        self._most = most
        self._sizer = sizer

    @property
    def enough(self) -> bool:
        return self._most is not None and Usage(self.size, self.names).exceeds(self._most)

    def count(self, handle: int) -> list[str]:
        """Counts what the folder itself holds; returns the names of the folders in it."""
        folders = []
        with os.scandir(handle) as entries:
            for entry in entries:
                self.names += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    with suppress(FileNotFoundError):
                        self.size += self._sizer(entry.stat(follow_symlinks=False))
                if self.enough:
                    break
        return folders


@dataclass(slots=True)
class _Level:
    """One folder on the way down; `handle` is None below the levels that are held, while the walk is further down."""

    handle: int | None
    identity: tuple[int, int]
    folders: list[str] = field(default_factory=list)


class _Walk:
    """A walk through one folder, depth first."""

    def __init__(self, handle: int, tally: _Tally) -> None:
        self._tally = tally
        self._levels: list[_Level] = []
        self._enter(handle)

    def run(self) -> None:
        try:
            while self._levels and not (self._tally.enough or self._tally.stopped()):
                level = self._levels[-1]
                if level.folders:
                    self._down(level, level.folders.pop())
                else:
                    self._up()
        finally:
            for level in self._levels:
                _close(level)

    def _enter(self, handle: int) -> None:
        self._levels.append(_Level(handle, _identity(handle)))
        with suppress(PermissionError):
            self._levels[-1].folders = self._tally.count(handle)

    def _down(self, level: _Level, name: str) -> None:
        try:
            handle = os.open(name, _FOLDER, dir_fd=level.handle)
        except OSError:
            return  # it went away, became something else, or may not be looked into
        if len(self._levels) > _HELD:
            _close(level)
        self._enter(handle)

    def _up(self) -> None:
        left = self._levels.pop()
        if self._levels and self._levels[-1].handle is None:
            self._reopen(self._levels[-1], left)
        _close(left)
        while self._levels and self._levels[-1].handle is None:
            self._levels.pop()  # moved away below our feet: on with the nearest level that is held

    def _reopen(self, level: _Level, left: _Level) -> None:
        with suppress(OSError):
            handle = os.open("..", _FOLDER, dir_fd=left.handle)
            if _identity(handle) == level.identity:
                level.handle = handle
            else:
                os.close(handle)


def _identity(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino


def _close(level: _Level) -> None:
    if level.handle is not None:
        os.close(level.handle)
        level.handle = None
