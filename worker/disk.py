"""A disk without room is the platform's trouble, and may pass: told apart from bugs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.faults import PassingFault

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOTHING = 1 << 20  # bytes
_NO_ROOM = "The platform's worker has no room left on its disk."


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
