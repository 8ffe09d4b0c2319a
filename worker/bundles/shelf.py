"""Cached bundles on the disk: `KEY.DIGEST` is a bundle's bytes, which never change, `KEY.json` what is known of them.

Any number of workers of one user share the folder. Bytes come into their place whole, under a name that their digest is
part of, so whoever reads them needs but the shared lock that keeps them from being removed. Whoever puts or removes
some holds `lock`, which notes how much room there is, so that not each has to look at all that lies there. A crash
leaves bytes that nothing names, or a record of bytes that are not there or not whole: the first leave in their turn,
the second are found out when they are wanted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from worker.bundles.shared_files import Watch, is_whole, open_shared, remove
from worker.kept.atomic import write_whole
from worker.storage.version import Version

_BYTES = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DRAFT = ".draft-"
_ABANDONED = 86400.0  # seconds; no copy takes that long
_BELIEVED = 3600.0  # seconds; then somebody looks again at what lies there
_NOTE = 1000  # bytes, at most
_AHEAD = 64  # of a full cache so much is cleared for what comes next, where that is whole bundles


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a bundle."""

    version: Version
    size: int
    digest: str


class Shelf:
    """Holds `most` bytes; the least recently used leave first. Every call may raise `OSError`."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = _own_folder(folder)
        self._most = most

    def find(self, key: str) -> Entry | None:
        """What is known under that key, a SHA-256 in hex; a damaged record is none."""
        try:
            found = json.loads((self._folder / f"{key}.json").read_bytes())
            entry = Entry(Version(**found["version"]), int(found["size"]), found["digest"])
            sound = _DIGEST.fullmatch(entry.digest) and _is_header(entry.version.etag + entry.version.modified)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return entry if sound else None

    @contextmanager
    def taken(self, key: str, entry: Entry, watch: Watch) -> Iterator[Path | None]:
        """The bundle, checked by size and digest, which stays while the block lasts; None where it is gone or damaged.

        A damaged one is removed.
        """
        path = self._path(key, entry.digest)
        handle = open_shared(path)
        if handle is None:
            yield None
            return
        try:
            whole = is_whole(handle, entry.size, entry.digest, watch)
            if whole:
                os.utime(handle)
            else:
                fcntl.flock(handle, fcntl.LOCK_UN)
                remove(path)
            yield path if whole else None
        finally:
            os.close(handle)

    def put(self, key: str, file: Path, version: Version) -> bool:
        """Keeps the file, which stays where it is as well; False for one that is larger than all may be."""
        if (size := file.stat().st_size) > self._most:
            return False
        entry = Entry(version, size, _digest(file))
        with self._draft(file) as draft, self._alone() as lock:
            known = self.find(key)
            if known and known.digest != entry.digest:
                remove(self._path(key, known.digest))
            if not (path := self._path(key, entry.digest)).exists():
                self._make_room(lock, entry.size)
                draft.rename(path)
            record = {"version": asdict(version), "size": entry.size, "digest": entry.digest}
            write_whole(self._folder / f"{key}.json", json.dumps(record).encode(), durable=False)
        return True

    def forget(self, key: str) -> None:
        """Has nothing known under that key; its bytes leave in their turn."""
        with self._alone():
            (self._folder / f"{key}.json").unlink(missing_ok=True)

    def _path(self, key: str, digest: str) -> Path:
        return self._folder / f"{key}.{digest}"

    @contextmanager
    def _draft(self, file: Path) -> Iterator[Path]:
        """The same bytes on this file system, for nobody else to read: a second name of the file where there can be."""
        draft = self._folder / f"{_DRAFT}{uuid4().hex}"
        try:
            try:
                os.link(file, draft)
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, draft)
            draft.chmod(0o600)
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """No other worker, nor thread, puts or makes room meanwhile; gives the locked file."""
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    def _make_room(self, lock: int, wanted: int) -> None:
        """Has that many bytes fit in, and notes it first: a crash leaves more room than is noted, never less."""
        noted = _noted(lock, self._most)
        if noted is None or noted["spare"] < wanted:
            noted = {"most": self._most, "looked": time.time(), "spare": self._cleared(wanted)}
        note = json.dumps({**noted, "spare": noted["spare"] - wanted}).encode()
        os.pwrite(lock, note, 0)
        os.ftruncate(lock, len(note))

    def _cleared(self, wanted: int) -> int:
        """Removes what nobody reads, least recently used first, until that many bytes fit in; how many do then."""
        found = _listed(self._folder)
        _remove_drafts(found)
        held = sorted((s.st_mtime, s.st_size, entry.name) for entry, s in found if _BYTES.fullmatch(entry.name))
        over = sum(size for _, size, _ in held) + wanted - self._most
        ahead = self._most // _AHEAD if over > 0 else 0
        for _, size, name in held:
            if over <= 0 and over + ahead < size:
                break
            if remove(self._folder / name):
                over -= size
                self._forget(name)
        return wanted - over

    def _forget(self, name: str) -> None:
        key, _, digest = name.partition(".")
        if (known := self.find(key)) is None or known.digest == digest:
            (self._folder / f"{key}.json").unlink(missing_ok=True)


def _noted(lock: int, most: int) -> dict[str, float] | None:
    """What the last to look has noted, and others since; None where it is old, or was for another size."""
    with suppress(ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        noted = {name: float(value) for name, value in json.loads(os.pread(lock, _NOTE, 0)).items()}
        if noted["most"] == most and 0 <= time.time() - noted["looked"] < _BELIEVED and noted["spare"] <= most:
            return noted
    return None


def _listed(folder: Path) -> list[tuple[os.DirEntry[str], os.stat_result]]:
    """What lies there; others' drafts come and go meanwhile."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found.append((entry, entry.stat(follow_symlinks=False)))
    return found


def _remove_drafts(found: list[tuple[os.DirEntry[str], os.stat_result]]) -> None:
    """Those that somebody has left who crashed."""
    for entry, state in found:
        if entry.name.startswith(_DRAFT) and state.st_ctime < time.time() - _ABANDONED:
            Path(entry.path).unlink(missing_ok=True)


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _own_folder(parent: Path) -> Path:
    """A folder that nobody else may look into. Raises `PermissionError` where it is somebody else's."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = parent / "bundles"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is no folder of this user")
    folder.chmod(0o700)
    return folder


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
