"""Unpacks a zip archive as if its maker meant harm: DESIGN.md section 7, "Archives"."""

from __future__ import annotations

import os
import tempfile
from array import array
from dataclasses import dataclass
from pathlib import Path

from sandbox.logs import size as shown_size
from worker.archives.expanding import Expander
from worker.archives.tree import remove_tree
from worker.archives.zip_directory import BadArchive, Entry, data_offset, entries, find_directory

__all__ = ["ArchiveLimits", "BadArchive", "is_archive", "unpack"]

_MAGIC = {b"PK\3\4", b"PK\5\6"}  # a first entry, or the end of an archive that has none
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE = 0o755
_MAC_JUNK = "__MACOSX"  # resource forks that macOS adds beside the real files
_MAC_SETTINGS = ".DS_Store"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may unpack to, the archives inside it included: bytes, and files and folders."""

    bytes: int
    entries: int


def is_archive(path: Path) -> bool:
    """True where the file begins as a zip archive does; names prove nothing."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def unpack(archive: Path, target: Path, *, limits: ArchiveLimits) -> None:
    """Unpacks it to `target`, a folder that is not there yet, and that is gone again after an error.

    A single folder that holds `metadata` is lifted to the top, and archives at the top then become
    folders of their names. Files get mode 0644 or 0755. Raises `BadArchive`, or the disk's `OSError`.
    """
    budget = _Budget(limits)
    target.mkdir()
    try:
        _unpack_one(archive, target, budget)
        for inner in sorted(target.iterdir()):
            if _is_inner_archive(inner):
                _unpack_inner(inner, budget)
    except BaseException:
        remove_tree(target)
        raise


def _unpack_inner(inner: Path, budget: _Budget) -> None:
    target = inner.with_name(inner.name[: -len(".zip")])
    try:
        target.mkdir()
    except FileExistsError:
        raise BadArchive("holds both an archive and what that would be unpacked to", inner.name) from None
    try:
        _unpack_one(inner, target, budget)
    except BadArchive as error:
        raise BadArchive(
            f"holds an archive that {error.reason}", f"{inner.name}: {error.entry}" if error.entry else inner.name
        ) from None
    inner.unlink()


def _is_inner_archive(path: Path) -> bool:
    name = path.name.lower()
    # The folder's name must not become "", "." or "..".
    return name.endswith(".zip") and bool(name[:-4].strip(".")) and path.is_file() and is_archive(path)


def _unpack_one(archive: Path, target: Path, budget: _Budget) -> None:
    with os.fdopen(os.open(archive, _READ), "rb") as file:
        directory = find_directory(file.fileno())
        place = _Place(target, budget)
        spans = _Spans()
        with Expander(file.fileno()) as expander:
            for entry in entries(file, directory):
                if entry.parts and entry.parts[0] != _MAC_JUNK:
                    _unpack_entry(file.fileno(), entry, place, spans, expander)
        spans.check(directory.start)
    _lift(target)


def _unpack_entry(handle: int, entry: Entry, place: _Place, spans: _Spans, expander: Expander) -> None:
    if entry.is_folder:
        place.make_folder(entry)
        return
    start = data_offset(handle, entry)
    spans.add(entry.offset, start + entry.packed)
    place.budget.spend(entry.size)  # it is refused as soon as it expands to more than that
    expander.expand(entry, start, place.make_file(entry))


def _lift(target: Path) -> None:
    """Puts a lone folder that holds `metadata` in the place of the folder that it lies in."""
    inside = [path for path in target.iterdir() if path.name != _MAC_SETTINGS]
    if len(inside) != 1 or not (inside[0] / "metadata").is_file():
        return
    with tempfile.TemporaryDirectory(prefix=".lift-", dir=target.parent) as aside:
        lifted = inside[0].rename(Path(aside) / "lifted")
        remove_tree(target)
        lifted.rename(target)


class _Budget:
    """What is left of the limits, for an archive and those inside it together."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._bytes = limits.bytes
        self._entries = limits.entries

    def spend(self, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise BadArchive(f"unpacks to more than {shown_size(self._limits.bytes)}")

    def enter(self, count: int) -> None:
        self._entries -= count
        if self._entries < 0:
            raise BadArchive(f"holds more than {self._limits.entries} files and folders")


class _Place:
    """The folder unpacked to. Nobody else writes there and no link gets there, so paths can be trusted."""

    def __init__(self, target: Path, budget: _Budget) -> None:
        self.budget = budget
        self._top = target
        self._last: tuple[tuple[str, ...], Path] = ((), self._top)  # neighbours mostly share their folder
        target.chmod(_FOLDER_MODE)

    def make_folder(self, entry: Entry) -> None:
        """A folder of its own; one that is there already is fine, as for every zip program."""
        made, _ = self._folders(entry.parts)
        self.budget.enter(max(made, 1))

    def make_file(self, entry: Entry) -> int:
        """A descriptor to write a new file by."""
        made, folder = self._folders(entry.parts[:-1])
        self.budget.enter(made + 1)
        try:
            handle = os.open(folder / entry.parts[-1], _NEW_FILE)
        except FileExistsError:
            raise BadArchive("holds a name twice", "/".join(entry.parts)) from None
        os.fchmod(handle, 0o755 if entry.executable else 0o644)
        return handle

    def _folders(self, parts: tuple[str, ...]) -> tuple[int, Path]:
        """Makes what is missing of a path of folders; returns how many that were, and the path."""
        if parts == self._last[0]:
            return 0, self._last[1]
        path, made = self._top, 0
        for part in parts:
            path = path / part
            made += _make_folder(path)
        self._last = (parts, path)
        return made, path


class _Spans:
    """Which stretches of the archive belong to an entry: bombs let entries share them."""

    def __init__(self) -> None:
        self._starts = array("Q")
        self._ends = array("Q")

    def add(self, start: int, end: int) -> None:
        self._starts.append(start)
        self._ends.append(end)

    def check(self, directory: int) -> None:
        """No two overlap exactly when each end, in order, comes before the next start, in order."""
        starts = [*sorted(self._starts)[1:], directory]
        if any(end > start for end, start in zip(sorted(self._ends), starts, strict=False)):
            raise BadArchive("holds entries that overlap")


def _make_folder(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise BadArchive("holds a name both as a file and as a folder", path.name) from None
        return False
    path.chmod(_FOLDER_MODE)
    return True
