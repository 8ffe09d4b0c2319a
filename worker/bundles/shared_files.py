"""Files that are read under a shared lock, and removed by nobody meanwhile, whichever process reads and removes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PIECE = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC

Watch = Callable[[int, int], None]
"""Called with bytes read and bytes in all while a file is checked; may raise, to break that off."""


def open_shared(path: Path) -> int | None:
    """A handle of the file, which is not removed while it is open; None where it is gone or about to be."""
    try:
        handle = os.open(path, _READ)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle
    except BlockingIOError:
        pass
    os.close(handle)
    return None


def remove(path: Path) -> bool:
    """Whether it is gone; False where somebody reads it."""
    with suppress(FileNotFoundError):
        handle = os.open(path, _READ)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
    return True


def is_whole(handle: int, size: int, digest: str, watch: Watch) -> bool:
    """Whether it holds those bytes, by size, then by digest: a SHA-256 in hex."""
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode) or state.st_size != size:
        return False
    found, done = hashlib.sha256(), 0
    while piece := os.pread(handle, _PIECE, done):
        found.update(piece)
        done += len(piece)
        watch(done, size)
    return found.hexdigest() == digest
