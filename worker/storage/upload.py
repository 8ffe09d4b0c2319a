"""What a PUT to a signed URL consists of: pieces of a file, and the headers that its store stands."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from protocol.urls import SignedUrl
from worker.storage.exchange import Deadline, Hiccup

_CHUNK = 256 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_azure(url: SignedUrl) -> bool:
    """True for Azure Blob storage, whatever its host name: a shared access signature has `sv` and `sig`."""
    return {"sv", "sig"} <= _query(url)


def put_headers(url: SignedUrl, content_type: str, *, version: str = "") -> dict[str, str]:
    """Headers for a whole object. Azure wants its blob type, and S3 would refuse what was not signed.

    Signature version 2 (S3, Google) signs the Content-Type, and sites sign without one; version 4
    only minds it where it is among the signed headers. `version` is the ETag of the only object to be
    replaced; only Azure is asked to mind it, for not every S3 server knows such a condition.
    """
    if is_azure(url):
        condition = {"If-Match": version} if version else {}
        return {"Content-Type": content_type, "x-ms-blob-type": "BlockBlob", **condition}
    return {} if "Signature" in _query(url) else {"Content-Type": content_type}


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file held open, and its size when it was opened: what is appended later is not sent."""

    handle: int
    size: int

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Opens without following a link or waiting for a FIFO. Raises `OSError`."""
        handle = os.open(path, _FLAGS)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{path.name} is no regular file")
            yield cls(handle, status.st_size)
        finally:
            os.close(handle)

    def piece(self, start: int, length: int, deadline: Deadline, sent: Callable[[int], None]) -> Piece:
        """Those bytes as a body; `sent` is called with the position in the file as they go."""
        return Piece(self.handle, start, start + length, deadline, sent)


class Piece:
    """Some bytes of a file as a request's body, read as they are sent; never past the deadline."""

    def __init__(self, handle: int, start: int, end: int, deadline: Deadline, sent: Callable[[int], None]) -> None:
        self._handle = handle
        self._position = start
        self._length = end - start
        self._end = end
        self._deadline = deadline
        self._sent = sent

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        """Its bytes. Raises `StoreUnavailable` past the deadline, `Hiccup` where the file has shrunk."""
        return iter(self._next, b"")

    def _next(self) -> bytes:
        self._deadline.remaining()
        wanted = min(_CHUNK, self._end - self._position)
        data = os.pread(self._handle, wanted, self._position)
        if wanted and not data:
            raise Hiccup("the file shrank while it was sent")
        self._position += len(data)
        self._sent(self._position)
        return data


class Tally:
    """Adds up how far several pieces of a file are; what is sent anew is counted from its start again."""

    def __init__(self, sent: Callable[[int], None]) -> None:
        self._sent = sent
        self._lock = threading.Lock()
        self._pieces: dict[int, int] = {}
        self._sum = 0

    def moved(self, start: int, position: int) -> None:
        """The piece that begins at `start` has been sent up to `position`."""
        with self._lock:
            self._sum += position - start - self._pieces.get(start, 0)
            self._pieces[start] = position - start
            self._sent(self._sum)


def _query(url: SignedUrl) -> set[str]:
    return set(parse_qs(urlsplit(url.reveal()).query, keep_blank_values=True))
