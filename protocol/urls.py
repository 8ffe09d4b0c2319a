"""Signed URLs: values that grant access, and so must never be printed whole."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """An http(s) URL whose query holds a signature; printing it leaves the query out.

    `reveal()` is the one way to the whole of it, so that a search for the word finds every use.
    """

    _url: str

    def reveal(self) -> str:
        """The URL with its signature, for the one request that needs it."""
        return self._url

    @property
    def host(self) -> str:
        """Host and port, to say in a log where a request went."""
        return urlsplit(self._url).netloc.rpartition("@")[2]

    def __str__(self) -> str:
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{self.host}{parts.path}{'?…' if parts.query else ''}"

    def __repr__(self) -> str:
        return f"SignedUrl({str(self)!r})"
