"""One download: bytes to a file, picked up where they broke off where the store allows that."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import IO

import requests

from protocol.urls import SignedUrl
from worker.storage.errors import TooLarge, UrlRefused
from worker.storage.exchange import Deadline, Hiccup, Request, exchange, translated
from worker.storage.version import Version

Progress = Callable[[int, int], None]
"""Called with the bytes moved so far and the bytes in all, 0 where the store did not say."""

_CHUNK = 256 * 1024
_WORTHWHILE = 64 * 1024  # bytes gained by a broken attempt that earn another one without waiting
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MD5_SIZE = 16
_ZIP = b"PK\3\4"  # each file in it has a checksum of its own, and hashing all of it can take longer than fetching it


class Download:
    """What is known of a download between its attempts: how far it is, and of which `version` of the blob.

    While the store still has the version `known` it refuses (HTTP 304) to begin.

    Resumes by Range and If-Match: Azurite ignores If-Range, and some stores ignore If-Match too or answer
    a Range with status 200, so the answer's Content-Range and ETag are what counts.
    """

    def __init__(
        self,
        session: requests.Session,
        url: SignedUrl,
        file: IO[bytes],
        *,
        limit: int | None,
        deadline: Deadline,
        progress: Progress,
        known: Version = Version(),  # noqa: B008 -- it is frozen
    ) -> None:
        self._session = session
        self._url = url
        self._file = file
        self._limit = limit
        self._deadline = deadline
        self._progress = progress
        self._known = known
        self.version = Version()
        self.received = 0
        self._furthest = 0
        self._total: int | None = None
        self._etag: str | None = None
        self._checksum: bytes | None = None
        self._digest = hashlib.md5(usedforsecurity=False)

    def attempt(self) -> int:
        """Goes on until all is there or nothing more comes; returns the size.

        Raises `Hiccup` when it broke off without having got noticeably further than ever before.
        """
        while True:
            try:
                self._fetch()
            except Hiccup:
                if self.received < self._furthest + _WORTHWHILE:
                    raise
                self._furthest = self.received
            else:
                return self.received

    def _fetch(self) -> None:
        if not self._etag:
            self._forget()
        request = Request("GET", self._url, self._resume_headers())
        try:
            with exchange(self._session, request, self._deadline) as response:
                self._accept(response)
                self._receive(response)
        except UrlRefused as error:
            if not self.received or error.status not in _NO_SUCH_PART:
                raise
            self._forget()
            raise Hiccup("the blob was changed while it was fetched") from None
        self._check()

    def _resume_headers(self) -> Mapping[str, str]:
        if not self.received or not self._etag:
            return self._known.unless()
        return {"Range": f"bytes={self.received}-", "If-Match": self._etag}

    def _accept(self, response: requests.Response) -> None:
        """Takes the response as the beginning, or as what follows on the bytes that are here."""
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        whole = response.status_code != HTTPStatus.PARTIAL_CONTENT
        start = int(found[1]) if found else 0 if whole else None
        same = response.headers.get("ETag", self._etag) == self._etag
        if start == 0:
            self._begin(response, found)
        elif start != self.received or not same:
            self._forget()
            raise Hiccup("the store answered with another part than was asked for")

    def _begin(self, response: requests.Response, found: re.Match[str] | None) -> None:
        self._forget()
        headers = response.headers
        self._total = _number(found[2]) if found else _content_length(response)
        # A weak ETag promises no equal bytes, and If-Match never matches it.
        etag = headers.get("ETag", "")
        resumable = etag.startswith('"') and headers.get("Accept-Ranges", "").lower() == "bytes"
        self._etag = etag if resumable else None
        self.version = Version.of(headers)
        self._checksum = None if found else _checksum(headers.get("Content-MD5", ""))
        if self._limit is not None and (self._total or 0) > self._limit:
            raise TooLarge(self._url, self._limit)

    def _receive(self, response: requests.Response) -> None:
        while chunk := self._read(response):
            if not self.received and chunk.startswith(_ZIP):
                self._checksum = None
            self.received += len(chunk)
            if self._limit is not None and self.received > self._limit:
                raise TooLarge(self._url, self._limit)
            self._file.write(chunk)
            if self._checksum:
                self._digest.update(chunk)
            self._progress(self.received, self._total or 0)

    def _read(self, response: requests.Response) -> bytes:
        """What the socket has: a `read` that waits for a full chunk would let a drip outlive the deadline."""
        self._deadline.remaining()
        read1: Callable[..., bytes] = response.raw.read1
        return translated(self._url, lambda: read1(_CHUNK, decode_content=False))

    def _check(self) -> None:
        if self._total is not None and self.received != self._total:
            raise Hiccup(f"ended after {self.received} of {self._total} bytes")
        if self._checksum and self._digest.digest() != self._checksum:
            self._forget()
            raise Hiccup("the bytes do not match their Content-MD5")

    def _forget(self) -> None:
        """Back to the first byte."""
        self._file.seek(0)
        self._file.truncate()
        self.received = 0
        self._total = self._etag = self._checksum = None
        self._digest = hashlib.md5(usedforsecurity=False)


_NO_SUCH_PART = {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}


def _content_length(response: requests.Response) -> int | None:
    if "Transfer-Encoding" in response.headers:  # RFC 9112: it overrides a Content-Length
        return None
    return _number(response.headers.get("Content-Length", ""))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _checksum(text: str) -> bytes | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return digest if len(digest) == _MD5_SIZE else None
