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
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_GAP = b"\n[... some output may be missing here: it was written while nobody read it]\n"


class CappedLog:
    """A file that keeps the first `limit` bytes written to it and counts the rest; one not `new` is gone on with.

    It only grows, so it may be read meanwhile. `write` never raises and may be called from any
    thread, for whoever feeds it must go on draining: what the disk will not take is counted as dropped.
    Raises OSError where a new file is there already, or none can be made.
    """

    def __init__(self, path: Path, limit: int, *, new: bool = True) -> None:
        self.path = path
        self.limit = limit
        self.head = b""
        """The first few hundred bytes."""
        self.kept = 0
        self.dropped = 0
        self._full = False
        self._told: int | None = None
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(path, _FLAGS if new else _FLAGS & ~os.O_EXCL, 0o600)
        if not new:
            self._take_over(self._descriptor)

    def replay(self) -> None:
        """What is written from now on begins with the first byte again: what is there already is passed over.

        Where it differs from that, something is missing between the two, and a line says so.
        """
        with self._lock:
            self._told, self.dropped, self._full = 0, 0, False

    def write(self, data: bytes) -> None:
        """Adds to the file, up to the limit; after `close` it does nothing."""
        with self._lock:
            if self._descriptor is None:
                return
            if self._told is not None:
                data = self._unknown(self._descriptor, data)
            if len(self.head) < _HEAD:
                self.head = (self.head + data)[:_HEAD]
            written = 0 if self._full else _write(self._descriptor, data[: max(0, self.limit - self.kept)])
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

    def _take_over(self, descriptor: int) -> None:
        """What an earlier process kept of it; without a marker line, which stands past the limit."""
        os.ftruncate(descriptor, min(self.limit, os.fstat(descriptor).st_size))
        self.kept = os.fstat(descriptor).st_size
        self.head = os.pread(descriptor, _HEAD, 0)

    def _unknown(self, descriptor: int, data: bytes) -> bytes:
        """What of a replay is not in the file yet."""
        told = self._told or 0
        known = os.pread(descriptor, min(len(data), max(0, self.kept - told)), told)
        if not data.startswith(known):
            self._told = None
            return _GAP + data
        self._told = told + len(known)
        if self._told >= self.kept:
            self._told = None
        return data[len(known) :]

    def _marker(self) -> str:
        return f"\n[... {size(self.dropped)} more were dropped: a log may hold {size(self.limit)}]\n"


class LogPair:
    """The two logs of one container; closes both at the end of its block."""

    def __init__(self, stdout: CappedLog, stderr: CappedLog) -> None:
        self.stdout = stdout
        self.stderr = stderr

    @classmethod
    def at(cls, stdout: Path, stderr: Path, *, limit: int, new: bool = True) -> LogPair:
        """Makes both files, each of `limit` bytes at most, or goes on with those that are there."""
        first = CappedLog(stdout, limit, new=new)
        try:
            return cls(first, CappedLog(stderr, limit, new=new))
        except OSError:
            first.close()
            raise

    def replay(self) -> None:
        """Both begin again with their first byte; see `CappedLog.replay`."""
        self.stdout.replay()
        self.stderr.replay()

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
