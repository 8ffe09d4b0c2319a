"""Bundles that were fetched before, asked after and not fetched again: the same data serve every run of a phase.

The store is asked each time, by the run's own URL: nothing is read that this URL does not open, and nothing that has
changed. Whatever goes wrong with the cache itself costs the run a download, never more.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from protocol.urls import SignedUrl
from sandbox.logs import size
from worker.archives.unpack import BadArchive, is_archive
from worker.bundles.coming import Arrivals, Progress
from worker.bundles.shelf import Entry, Shelf
from worker.storage.store import VersionedStore
from worker.storage.version import Version

_GIB = 1 << 30

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A bundle, and what its run has to say about it; `ends` is of the monotonic clock."""

    key: str
    url: SignedUrl
    target: Path
    limit: int
    ends: float
    progress: Progress


class BundleCache:
    """Hands out bundles from the shelf where the store says that they still are what is wanted.

    `on_asked` is told for each archive whether it was there.
    """

    def __init__(self, store: VersionedStore, shelf: Shelf, on_asked: Callable[[bool], None]) -> None:
        self._store = store
        self._shelf = shelf
        self._on_asked = on_asked
        self._arrivals = Arrivals()

    @contextmanager
    def bundle(
        self, url: SignedUrl, target: Path, *, limit: int, deadline: float, progress: Progress
    ) -> Iterator[Path]:
        """The bundle as a file to be read and left as it is: a cached one, or the new file `target`.

        Only archives are kept, for documents are made anew for each run; only what the store gives a version of can
        be; and none that the block finds to be a `BadArchive`. `deadline` is in seconds.
        Raises as `VersionedStore.download_unless`, and what `progress` raises.
        """
        wanted = _Wanted(_key(url), url, target, limit, time.monotonic() + deadline, progress)
        with ExitStack() as taken:
            file = self._file(wanted, taken)
            if (hit := file != target) or is_archive(target):
                self._on_asked(hit)
            try:
                yield file
            except BadArchive:
                self._forget(wanted)
                raise

    def _file(self, wanted: _Wanted, taken: ExitStack) -> Path:
        while not (known := self._known(wanted, taken)):
            if self._arrivals.fetch(wanted.key, partial(self._fetch, wanted), wanted.progress):
                return wanted.target
        return known

    def _known(self, wanted: _Wanted, taken: ExitStack) -> Path | None:
        """The cached bundle or, where it has changed, the new one; None where there is none to be had that way."""
        entry = self._found(wanted)
        if not entry:
            return None
        version = self._download(wanted, entry.version, wanted.progress)
        if version is None:
            return self._taken(taken, entry, wanted)
        self._keep(wanted, version)
        return wanted.target

    def _fetch(self, wanted: _Wanted, progress: Progress) -> bool:
        """Downloads it, whatever is known of it; whether it is kept."""
        version = self._download(wanted, Version(), progress)
        return self._keep(wanted, version)

    def _download(self, wanted: _Wanted, known: Version, progress: Progress) -> Version | None:
        left = wanted.ends - time.monotonic()
        return self._store.download_unless(
            wanted.url, wanted.target, known=known, limit=wanted.limit, deadline=left, progress=progress
        )

    def _found(self, wanted: _Wanted) -> Entry | None:
        """What is known of it, unless it is larger than may be by now."""
        try:
            found = self._shelf.find(wanted.key)
        except OSError as error:
            _warn(error)
            return None
        return found if found and found.size <= wanted.limit else None

    def _taken(self, until: ExitStack, entry: Entry, wanted: _Wanted) -> Path | None:
        try:
            path = until.enter_context(self._shelf.taken(wanted.key, entry, wanted.progress))
        except OSError as error:
            _warn(error)
            return None
        if path:
            _log.info("bundle from the cache", url=str(wanted.url), size=size(entry.size))
        else:
            _log.warning("a cached bundle is damaged or gone, it is downloaded anew", url=str(wanted.url))
        return path

    def _keep(self, wanted: _Wanted, version: Version | None) -> bool:
        if not (version and is_archive(wanted.target)):
            return False
        try:
            return self._shelf.put(wanted.key, wanted.target, version)
        except OSError as error:
            _log.warning("a bundle could not be cached", url=str(wanted.url), reason=str(error))
            return False

    def _forget(self, wanted: _Wanted) -> None:
        try:
            self._shelf.forget(wanted.key)
        except OSError as error:
            _warn(error)


def open_cache(
    folder: Path | None, gigabytes: float, store: VersionedStore, on_asked: Callable[[bool], None] = lambda _hit: None
) -> BundleCache | None:
    """The cache in that folder; none where there is to be none, or the folder cannot be used."""
    if folder is None:
        return None
    try:
        return BundleCache(store, Shelf(folder, int(gigabytes * _GIB)), on_asked)
    except OSError as error:
        _warn(error)
        return None


def _warn(error: OSError) -> None:
    _log.warning("the cache of bundles cannot be used, they are downloaded", reason=str(error))


def _key(url: SignedUrl) -> str:
    """Of the URL without its query, where the signature is."""
    parts = urlsplit(url.reveal())
    return hashlib.sha256(f"{parts.scheme}://{parts.netloc}{parts.path}".encode()).hexdigest()
