"""Bundles that were fetched before, asked after and not fetched again: the same data serve every run of a phase.

The store is asked each time, by the run's own URL: nothing is read that this URL does not open, and nothing that has
changed. Whatever goes wrong with the cache itself costs the run a download, never more.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from protocol.urls import SignedUrl
from sandbox.logs import size
from worker.archives.unpack import is_archive
from worker.bundles.shelf import Entry, Shelf
from worker.storage.store import VersionedStore
from worker.storage.version import Version

_GIB = 1 << 30

_log = structlog.get_logger(__name__)


class BundleCache:
    """Hands out bundles from the shelf where the store says that they still are what is wanted."""

    def __init__(self, store: VersionedStore, shelf: Shelf) -> None:
        self._store = store
        self._shelf = shelf

    @contextmanager
    def bundle(
        self, url: SignedUrl, target: Path, *, limit: int, deadline: float, progress: Callable[[int, int], None]
    ) -> Iterator[Path]:
        """The bundle as a file to be read and left as it is: a cached one, or the new file `target`.

        Only archives are kept, for documents are made anew for each run; only what the store gives a version of can be.
        `deadline` is in seconds. Raises as `VersionedStore.download_unless`, and what `progress` raises.
        """
        ends = time.monotonic() + deadline

        def download(known: Version) -> Version | None:
            left = ends - time.monotonic()
            return self._store.download_unless(url, target, known=known, limit=limit, deadline=left, progress=progress)

        key = _key(url)
        entry = self._found(key, limit)
        version = download(entry.version if entry else Version())
        with ExitStack() as taken:
            if entry and version is None:
                if held := self._taken(taken, key, entry, url, progress):
                    yield held
                    return
                version = download(Version())
            if version and is_archive(target):
                self._keep(key, target, version, url)
            yield target

    def _found(self, key: str, limit: int) -> Entry | None:
        """What is known of it, unless it is larger than may be by now."""
        try:
            found = self._shelf.find(key)
        except OSError as error:
            _warn(error)
            return None
        return found if found and found.size <= limit else None

    def _taken(
        self, until: ExitStack, key: str, entry: Entry, url: SignedUrl, progress: Callable[[int, int], None]
    ) -> Path | None:
        try:
            path = until.enter_context(self._shelf.taken(key, entry, progress))
        except OSError as error:
            _warn(error)
            return None
        if path:
            _log.info("bundle from the cache", url=str(url), size=size(entry.size))
        else:
            _log.warning("a cached bundle is damaged or gone, it is downloaded anew", url=str(url))
        return path

    def _keep(self, key: str, file: Path, version: Version, url: SignedUrl) -> None:
        try:
            self._shelf.put(key, file, version)
        except OSError as error:
            _log.warning("a bundle could not be cached", url=str(url), reason=str(error))


def open_cache(folder: Path | None, gigabytes: float, store: VersionedStore) -> BundleCache | None:
    """The cache in that folder; none where there is to be none, or the folder cannot be used."""
    if folder is None:
        return None
    try:
        return BundleCache(store, Shelf(folder, int(gigabytes * _GIB)))
    except OSError as error:
        _warn(error)
        return None


def _warn(error: OSError) -> None:
    _log.warning("the cache of bundles cannot be used, they are downloaded", reason=str(error))


def _key(url: SignedUrl) -> str:
    """Of the URL without its query, where the signature is."""
    parts = urlsplit(url.reveal())
    return hashlib.sha256(f"{parts.scheme}://{parts.netloc}{parts.path}".encode()).hexdigest()
