"""Bytes from and to signed URLs: streamed, retried, within a deadline, no signature ever in an error."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Self, TypeVar

import tenacity

from protocol.urls import SignedUrl
from worker.counters import NO_COUNTERS, Counters
from worker.storage.azure import Block, block_list, block_list_url, block_url, blocks
from worker.storage.counted import counted
from worker.storage.download import Download, Progress
from worker.storage.errors import StoreUnavailable, UrlRefused
from worker.storage.exchange import (
    BodyMaker,
    Deadline,
    Hiccup,
    Request,
    check_url,
    exchange,
    finish,
    make_session,
)
from worker.storage.upload import Source, Tally, is_azure, put_headers
from worker.storage.version import Version

T = TypeVar("T")

_CONNECTIONS = 16  # kept alive per store
_BLOCKS_AT_ONCE = 4  # of one file: a store's answer to each is waited for while others are sent
_LONGEST_WAIT = 4.0


class Transfers:
    """The worker's HTTP sessions, shared by all threads. Close it, or use it in a `with`. `counters` hear of each byte.

    What fails in a way that may pass is tried `attempts` times in all, with waits of about
    `first_wait` seconds, then twice that and so on, with jitter. To Azure, files above
    `block_threshold` bytes go in blocks: 64 MiB is what its oldest service version takes in one PUT.

    Deadlines are seconds from the call, for everything that it does; a store that falls silent just
    before may overstay them by a minute.
    """

    def __init__(
        self,
        counters: Counters = NO_COUNTERS,
        *,
        attempts: int = 5,
        first_wait: float = 0.25,
        block_threshold: int = 64 * 1024 * 1024,
    ) -> None:
        self._counters = counters
        self._attempts = attempts
        self._first_wait = first_wait
        self._block_threshold = block_threshold
        self._session = make_session(_CONNECTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def download(
        self,
        url: SignedUrl,
        target: Path,
        *,
        limit: int | None = None,
        deadline: float,
        progress: Progress | None = None,
    ) -> int:
        """Fetches a blob into a file, which is there whole (mode 0644) or not at all; returns its size.

        Raises `UrlRefused`, `StoreUnavailable`, `TooLarge` (more than `limit` bytes) or the disk's `OSError`.
        """
        return self._fetched(url, target, Version(), limit, deadline, progress).received

    def download_unless(
        self,
        url: SignedUrl,
        target: Path,
        *,
        known: Version,
        limit: int | None = None,
        deadline: float,
        progress: Progress | None = None,
    ) -> Version | None:
        """As `download`, unless the store still has the version `known`: then None, and no file; else the new version.

        Whether the URL may be read is for the store to say in any case. Raises as `download` does.
        """
        try:
            return self._fetched(url, target, known, limit, deadline, progress).version
        except UrlRefused as error:
            if known and error.status == HTTPStatus.NOT_MODIFIED:
                return None
            raise

    def upload(
        self,
        url: SignedUrl,
        source: Path,
        *,
        content_type: str,
        deadline: float,
        progress: Progress | None = None,
    ) -> None:
        """Stores a regular file as it is when the call begins; a link is not followed.

        Raises `UrlRefused`, `StoreUnavailable`, or `OSError` where the file cannot be read.
        """
        check_url(url)
        until = Deadline.after(deadline, url)
        with Source.open(source) as file:
            sent = self._sent(progress, file.size)
            if is_azure(url) and file.size > self._block_threshold:
                self._put_blocks(url, file, content_type, until, sent)
            else:
                body = partial(file.piece, 0, file.size, until, sent)
                self._put(url, put_headers(url, content_type), body, until)

    def upload_once(
        self,
        url: SignedUrl,
        source: Path,
        *,
        content_type: str,
        deadline: float,
        silence: float,
        progress: Progress,
        version: str = "",
    ) -> str:
        """Stores a regular file in one PUT, tried once, and returns its version: the ETag, "" where there is none.

        With a `version`, Azure replaces no other than that: what the store is slow to act on can then not undo
        what was stored after it. The store may be silent for `silence` seconds at most. Where `progress` raises
        the rest is not sent, so that nothing is stored. Raises as `upload` does (HTTP 412: another version is there).
        """
        check_url(url)
        until = Deadline.after(deadline, url, silence=silence)
        with Source.open(source) as file:
            body = partial(file.piece, 0, file.size, until, self._sent(progress, file.size))
            return self._put(url, put_headers(url, content_type, version=version), body, until, attempts=1)

    def _fetched(
        self,
        url: SignedUrl,
        target: Path,
        known: Version,
        limit: int | None,
        deadline: float,
        progress: Progress | None,
    ) -> Download:
        """The download, when its file is in place."""
        check_url(url)
        until = Deadline.after(deadline, url)
        heard = counted(self._counters, "down", progress)
        handle, name = tempfile.mkstemp(prefix=".download-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                download = Download(self._session, url, file, limit=limit, deadline=until, progress=heard, known=known)
                self._retry(download.attempt, until, self._attempts)
                os.fchmod(file.fileno(), 0o644)
            Path(name).rename(target)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise
        return download

    def _sent(self, progress: Progress | None, size: int) -> Callable[[int], None]:
        heard = counted(self._counters, "up", progress)
        return lambda position: heard(position, size)

    def _put_blocks(
        self, url: SignedUrl, file: Source, content_type: str, until: Deadline, sent: Callable[[int], None]
    ) -> None:
        tally = Tally(sent)

        def put(block: Block) -> str:
            body = partial(file.piece, block.start, block.length, until, partial(tally.moved, block.start))
            self._put(block_url(url, block), {}, body, until)
            return block.id

        with ThreadPoolExecutor(_BLOCKS_AT_ONCE, thread_name_prefix="block") as pool:
            listed = block_list(list(pool.map(put, blocks(file.size))))  # the first that fails ends those not begun
        self._put(block_list_url(url), {"x-ms-blob-content-type": content_type}, lambda: listed, until)

    def _put(
        self, url: SignedUrl, headers: dict[str, str], body: BodyMaker, until: Deadline, *, attempts: int | None = None
    ) -> str:
        def put() -> str:
            with exchange(self._session, Request("PUT", url, headers, body), until) as response:
                finish(response, url)
                return response.headers.get("ETag", "")

        return self._retry(put, until, attempts or self._attempts)

    def _retry(self, attempt: Callable[[], T], until: Deadline, attempts: int) -> T:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Hiccup),
            stop=tenacity.stop_after_attempt(attempts),
            wait=tenacity.wait_exponential(multiplier=self._first_wait, max=_LONGEST_WAIT)
            + tenacity.wait_random(0, self._first_wait),
            sleep=lambda seconds: time.sleep(min(seconds, until.remaining())),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except Hiccup as hiccup:
            times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            raise StoreUnavailable(until.url, f"{hiccup.reason}, after {times}") from None
