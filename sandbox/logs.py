"""Where a container's output is kept: files that hold the first so many bytes, and say what they dropped."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.engine import Stream

_HEAD = 512
# The file must be new and no link: its folder may be one that a container wrote to before.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class CappedLog:
    """A new file that keeps the first `limit` bytes written to it and counts the rest.

    It only grows, so it may be read meanwhile. `write` never raises and may be called from any
    thread, for whoever feeds it must go on draining: what the disk will not take is counted as dropped.
    Raises OSError where the file is there already or cannot be made.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.head = b""
        """The first few hundred bytes."""
        self.kept = 0
        self.dropped = 0
        self._full = False
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(path, _FLAGS, 0o600)

    def write(self, data: bytes) -> None:
        """Adds to the file, up to the limit; after `close` it does nothing."""
        with self._lock:
            if self._descriptor is None:
                return
            if len(self.head) < _HEAD:
                self.head = (self.head + data)[:_HEAD]
            written = 0 if self._full else _write(self._descriptor, data[: self.limit - self.kept])
            self.kept += written
            self.dropped += len(data) - written
            # Once something was dropped nothing more is kept: a log has one gap only, at its end.
            self._full = self.dropped > 0

    def close(self) -> None:
        """Adds the line that says what was dropped, if anything was, and closes the file."""
        with self._lock:
            if self._descriptor is None:
                return
            if self.dropped:
                _write(self._descriptor, self._marker().encode())
            os.close(self._descriptor)
            self._descriptor = None

    def _marker(self) -> str:
        return f"\n[... {size(self.dropped)} more were dropped: a log may hold {size(self.limit)}]\n"


class LogPair:
    """The two logs of one container; closes both at the end of its block."""

    def __init__(self, stdout: CappedLog, stderr: CappedLog) -> None:
        self.stdout = stdout
        self.stderr = stderr

    @classmethod
    def at(cls, stdout: Path, stderr: Path, *, limit: int) -> LogPair:
        """Makes both files, each of `limit` bytes at most."""
        first = CappedLog(stdout, limit)
        try:
            return cls(first, CappedLog(stderr, limit))
        except OSError:
            first.close()
            raise

    def write(self, stream: Stream, data: bytes) -> None:
        """Adds to the log of that stream."""
        (self.stdout if stream is Stream.STDOUT else self.stderr).write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stdout.close()
        self.stderr.close()


def size(count: int) -> str:
    """Bytes for people: `10 MiB`, `12.3 MiB`, `7 B`."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:  # noqa: PLR2004 - what each unit holds of the one before
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def _write(descriptor: int, data: bytes) -> int:
    """Writes what the disk will take, and returns how many bytes that was."""
    done = 0
    try:
        while done < len(data):
            done += os.write(descriptor, data[done:])
    except OSError:
        return done
    return done
