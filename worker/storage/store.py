"""What a run needs of a store, whichever it is: a site's, by signed URLs, or folders of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from protocol.urls import SignedUrl
from worker.storage.version import Version


class Store(Protocol):
    """Takes and gives blobs. `deadline` is seconds from the call; `progress` hears bytes done and in all."""

    def download(
        self,
        url: SignedUrl,
        target: Path,
        *,
        limit: int | None = None,
        deadline: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Puts a blob of at most `limit` bytes into a new file; returns its size. Raises `TransferError`."""
        ...

    def upload(
        self,
        url: SignedUrl,
        source: Path,
        *,
        content_type: str,
        deadline: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Stores a file, in place of what was there. Raises `TransferError`."""
        ...

    def upload_once(
        self,
        url: SignedUrl,
        source: Path,
        *,
        content_type: str,
        deadline: float,
        silence: float,
        progress: Callable[[int, int], None],
        version: str = "",
    ) -> str:
        """Stores a file without trying again; returns its version, "" where the store tells none.

        Gives up a store that is silent for `silence` seconds. Where `progress` raises, nothing is stored. A store
        that knows versions replaces none but `version`. Raises `TransferError`.
        """
        ...


class VersionedStore(Store, Protocol):
    """A store that can be asked whether a blob has changed."""

    def download_unless(
        self,
        url: SignedUrl,
        target: Path,
        *,
        known: Version,
        limit: int | None = None,
        deadline: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> Version | None:
        """Downloads, unless the blob still is of the version `known` (None, no file); returns the version it is of."""
        ...
