"""Writes what entries hold to their files, large ones side by side: zlib lets other threads work meanwhile."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Self

from worker.archives.zip_content import DEFLATED, STORED, content
from worker.archives.zip_directory import Entry

_AT_ONCE = min(4, os.cpu_count() or 1)
_LARGE = 1 << 20  # bytes; less is not worth the way to another thread
_LITTLE_MEMORY = {STORED, DEFLATED}  # what bzip2 and LZMA need is needed once


class _BrokenOffError(Exception):
    """Another entry, or the directory, is no good."""


class Expander:
    """Expands entries of the archive that `handle` is a descriptor of, as long as the block lasts.

    Its end waits for all of them, and raises what the first that failed has raised: `BadArchive`, or the disk's
    `OSError`. After any error what is under way is broken off.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="unpack")  # without a thread until one is wanted
        self._under_way: deque[Future[None]] = deque()
        self._broken_off = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._pool:
            if kind not in {None, _BrokenOffError}:
                self._broken_off.set()
                return
            for expanding in self._under_way:
                with suppress(_BrokenOffError):  # the reason is another's
                    expanding.result()

    def expand(self, entry: Entry, start: int, target: int) -> None:
        """Writes the bytes that begin at the archive's offset `start` to `target`, a descriptor, and closes that."""
        if entry.size < _LARGE or entry.method not in _LITTLE_MEMORY:
            self._expand(entry, start, target)
            return
        self._under_way.append(self._pool.submit(self._expand, entry, start, target))
        if len(self._under_way) >= _AT_ONCE:
            self._under_way.popleft().result()

    def _expand(self, entry: Entry, start: int, target: int) -> None:
        try:
            with os.fdopen(target, "wb") as file:  # unbuffered, a disk that fills up would cut the end
                for piece in content(self._handle, entry, start):
                    self._check()
                    file.write(piece)
        except BaseException:
            self._broken_off.set()
            raise

    def _check(self) -> None:
        if self._broken_off.is_set():
            raise _BrokenOffError
