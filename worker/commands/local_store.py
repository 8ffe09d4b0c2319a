"""Folders of this machine in place of a site's store: what `try` has where a run has signed URLs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from protocol.urls import SignedUrl
from worker.storage.errors import TooLarge

_HERE = "https://try.invalid/"  # RFC 2606: a name that leads nowhere


def local_url(name: str) -> SignedUrl:
    """The URL by which a `LocalStore` knows the bundle or result of that name."""
    return SignedUrl(_HERE + name)


class LocalStore:
    """Gives each bundle out of the folder `bundles`, once; takes results into the folder `results`.

    A disk needs neither deadlines nor another attempt, and is soon done.
    """

    def __init__(self, bundles: Path, results: Path) -> None:
        self._bundles = bundles
        self._results = results

    def download(self, url: SignedUrl, target: Path, *, limit: int | None = None, **_: object) -> int:
        """Moves the bundle to `target`, on the same file system. Raises `TooLarge`."""
        source = self._bundles / _name(url)
        size = source.stat().st_size
        if limit is not None and size > limit:
            raise TooLarge(url, limit)
        source.rename(target)
        return size

    def upload(self, url: SignedUrl, source: Path, **_: object) -> None:
        """Puts the result in its place, whole, for whoever reads it meanwhile. Raises `OSError`."""
        self._put(url, source, lambda _size: None)

    def upload_once(self, url: SignedUrl, source: Path, *, progress: Callable[[int, int], None], **_: object) -> str:
        """Likewise, but that nothing is stored where `progress` raises. There are no versions."""
        self._put(url, source, lambda size: progress(size, size))
        return ""

    def _put(self, url: SignedUrl, source: Path, before: Callable[[int], None]) -> None:
        handle, draft = tempfile.mkstemp(prefix=".upload-", dir=self._results)
        try:
            with os.fdopen(handle, "wb") as copy, source.open("rb") as content:
                shutil.copyfileobj(content, copy, 1 << 20)
                os.fchmod(copy.fileno(), 0o644)
                before(copy.tell())
            Path(draft).replace(self._results / _name(url))
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def _name(url: SignedUrl) -> str:
    return PurePosixPath(urlsplit(url.reveal()).path).name
