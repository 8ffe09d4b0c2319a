"""A run's bundles: what the site's documents name, fetched side by side and unpacked. DESIGN.md section 4.

Only documents that came from the site are followed: the run document, and the `input` document that
it names. A URL inside anybody's archive never is.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from protocol.faults import OrganiserFault
from protocol.urls import SignedUrl
from worker.archives.unpack import ArchiveLimits, BadArchive, is_archive, unpack
from worker.bundles.blame import Blame
from worker.bundles.cache import BundleCache
from worker.bundles.document import Document, read_document
from worker.kept.disk import is_full, room_needed
from worker.storage.errors import StoreUnavailable, TransferError
from worker.storage.store import Store

Progress = Callable[[str, int, int], None]
"""Called with "download NAME", the bytes had so far, and the bytes in all, 0 where unknown."""

RUN_DOCUMENT = ""
_FOLLOWED = "input"  # the one document of the run document that is followed too
_SIDE_BY_SIDE = 4


def fetch(  # noqa: PLR0913 - each is a fact of the one fetch
    url: SignedUrl,
    folder: Path,
    *,
    transfers: Store,
    limits: ArchiveLimits,
    deadline: float,
    optional: frozenset[str] = frozenset(),
    submission: str = "input/res",
    progress: Progress | None = None,
    cache: BundleCache | None = None,
) -> tuple[str, ...]:
    """Fetches the run's bundle and what it names into `folder`; returns notes for the participant's log.

    Bundles are named by their place, such as `program` or `input/ref`. Those in `optional` may be
    missing, dead or no archive: their folder then is empty. `submission` is the one that the
    participant answers for; neither that nor the run's own document is looked for in the `cache`.
    `limits` bind each bundle, `deadline` (seconds) all of them together.

    Raises `ParticipantFault` or `OrganiserFault` for a bundle that is no good, `LastingFault` for a URL that
    is refused, and `PassingFault` where the store is away or the disk full.
    """
    with room_needed(), tempfile.TemporaryDirectory(prefix=".bundles-", dir=folder.parent) as aside:
        ends = time.monotonic() + deadline
        rules = _Rules(transfers, limits, ends, optional, Blame(submission), progress, cache)
        return _Fetching(rules, folder, Path(aside)).run(url)


@dataclass(frozen=True, slots=True)
class _Rules:
    transfers: Store
    limits: ArchiveLimits
    ends: float
    optional: frozenset[str]
    blame: Blame
    progress: Progress | None
    cache: BundleCache | None


@dataclass(frozen=True, slots=True)
class _Bundle:
    name: str
    url: SignedUrl
    followed: bool = False


class _AbandonedError(Exception):
    """Another bundle failed: this one is no longer worth its bytes."""


@dataclass(slots=True)
class _Fetching:
    """One fetch under way, shared by the threads that download for it."""

    rules: _Rules
    folder: Path
    aside: Path
    notes: list[str] = field(default_factory=list)
    failed: threading.Event = field(default_factory=threading.Event)

    def run(self, url: SignedUrl) -> tuple[str, ...]:
        """Fetches the run document, then what it names, then what its input document names."""
        document = self._one(_Bundle(RUN_DOCUMENT, url, followed=True))
        if document:
            found = self._all(self._bundles(document, ""))
            if inputs := found.get(_FOLLOWED):
                self._all(self._bundles(inputs, f"{_FOLLOWED}/"))
        for name in sorted(self.rules.optional):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not (self.folder / "program").is_dir():
            raise OrganiserFault("The organiser's run bundle names no program, so there is nothing to run.")
        return tuple(self.notes)

    def _bundles(self, document: Document, prefix: str) -> list[_Bundle]:
        bundles = []
        for key, url in document.links.items():
            if (self.folder / prefix / key).exists():
                self.notes.append(f"{prefix}{key} was not fetched: there is something of that name already")
            else:
                bundles.append(_Bundle(prefix + key, url, followed=prefix + key == _FOLLOWED))
        self.notes.extend(document.notes)
        return bundles

    def _all(self, bundles: list[_Bundle]) -> Mapping[str, Document | None]:
        """Fetches them side by side. Where some fail, the first in the document's order is told."""
        with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="bundle") as pool:
            futures = {bundle.name: pool.submit(self._one, bundle) for bundle in bundles}
        errors = [future.exception() for future in futures.values()]
        for error in errors:
            if error and not isinstance(error, _AbandonedError):
                raise error
        return {name: future.result() for name, future in futures.items()}

    def _one(self, bundle: _Bundle) -> Document | None:
        """Fetches one bundle; the document in it, if it is one that is followed."""
        try:
            with (
                tempfile.TemporaryDirectory(dir=self.aside) as aside,
                self._fetched(bundle, Path(aside) / "download") as file,
            ):
                return self._put_in_place(bundle, file)
        except (TransferError, BadArchive) as error:
            self._forgive(bundle, error)
            return None
        except BaseException:
            self.failed.set()
            raise

    @contextmanager
    def _fetched(self, bundle: _Bundle, target: Path) -> Iterator[Path]:
        """The bundle as a file: `target`, which may be moved, or where it is an archive perhaps a cached one."""

        def watch(had: int, total: int) -> None:
            if self.failed.is_set():
                raise _AbandonedError
            if self.rules.progress:
                self.rules.progress(f"download {bundle.name or 'run bundle'}", had, total)

        left = self.rules.ends - time.monotonic()
        limit = self.rules.limits.bytes
        cache = self.rules.cache
        if cache and bundle.name not in {RUN_DOCUMENT, self.rules.blame.submission}:
            with cache.bundle(bundle.url, target, limit=limit, deadline=left, progress=watch) as file:
                yield file
        else:
            self.rules.transfers.download(bundle.url, target, limit=limit, deadline=left, progress=watch)
            yield target

    def _put_in_place(self, bundle: _Bundle, file: Path) -> Document | None:
        if not file.stat().st_size:
            raise BadArchive("is empty")
        if is_archive(file):
            self._unpack(bundle, file)
            return None
        if bundle.name in {self.rules.blame.submission, *self.rules.optional}:  # no document of the site's
            raise BadArchive("is no zip archive")
        place = self.folder / bundle.name
        place.mkdir(parents=True, exist_ok=True)
        if bundle.followed and (document := read_document(file)):
            document.write(place / "metadata")
            return document
        file.rename(place / "metadata")
        return None

    def _unpack(self, bundle: _Bundle, file: Path) -> None:
        place = self.folder / bundle.name
        if bundle.name:
            place.parent.mkdir(parents=True, exist_ok=True)
            unpack(file, place, limits=self.rules.limits)
            return
        unpacked = file.with_name("unpacked")
        unpack(file, unpacked, limits=self.rules.limits)
        for item in unpacked.iterdir():
            _move(item, place / item.name)

    def _forgive(self, bundle: _Bundle, error: TransferError | BadArchive) -> None:
        """Goes on without an optional bundle that is dead or no good; any other ends the run."""
        if bundle.name in self.rules.optional and not isinstance(error, StoreUnavailable):
            self.notes.append(
                f"{bundle.name}: your container's output takes its place (the site's {_what_was_wrong(error)})"
            )
            return
        self.failed.set()
        raise self.rules.blame.fault(bundle.name, error) from error


def _what_was_wrong(error: TransferError | BadArchive) -> str:
    return error.reason if isinstance(error, BadArchive) else f"could not be fetched: {error.reason}"


def _move(item: Path, place: Path) -> None:
    """Moves it, in the place of an empty folder if need be."""
    try:
        item.rename(place)
    except OSError as error:
        if is_full(error):
            raise
        raise BadArchive("holds a name that the run itself needs", item.name) from None
