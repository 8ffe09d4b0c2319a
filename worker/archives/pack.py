"""Zips what a container left: regular files and empty folders, streamed, and nothing that is not its own.

Walked with `worker.archives.walk`, so no link is followed and no FIFO opened; files that grow, shrink or
vanish meanwhile are packed as far as they were there. Whatever is packed, `worker.archives.unpack` takes.
"""

from __future__ import annotations

import os
import time
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import IO

from worker.archives.left_out import LeftOut, Omissions
from worker.archives.walk import Found, Step, is_unreadable, walk
from worker.archives.zip_directory import DEEPEST, LONGEST_PATH

_CHUNK = 256 * 1024
_LEVEL = 1  # measured on text: a third to a seventh of the time of the usual level, for a tenth to a fifth more bytes
_WORTHWHILE = 0.95  # of its size: what hardly shrinks is stored as it is
_EARLIEST, _LATEST = 315_532_800, 4_354_819_198  # 1980 to 2107 in epoch seconds: all that a zip can say
_FILE, _EXECUTABLE, _FOLDER = 0o100644, 0o100755, 0o40755
_FOLDER_FLAG = 0x10  # MS-DOS's
_UNREADABLE = "may not be read"


def pack(
    folder: Path,
    archive: Path,
    *,
    leave_out: Collection[str] = (),
    extra: Mapping[str, bytes] = MappingProxyType({}),
    limit: int | None = None,
    compress: bool = True,
) -> tuple[LeftOut, ...]:
    """Zips `folder` into a new `archive`, in the order of names, and tells what had to be left out.

    Names in `leave_out`, at the top, are passed over without a word. `extra` are files of the worker's
    own, by name; the folder's own of that name are left out. Of files whose sizes come to more than
    `limit` bytes those that no longer fit are left out. Without `compress` all bytes are stored as they are,
    for an archive that stays on this machine. Raises `OSError` where the archive cannot be written; nothing of
    it is left then: on a full disk the logs need its room.
    """
    try:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as target:
            packing = _Packing(target, extra, limit, compress=compress)
            for found in walk(folder):
                if _top(found) not in leave_out:
                    packing.take(found)
            return packing.omissions.result()
    except BaseException:
        if archive.is_file():
            archive.unlink()
        raise


def _top(found: Found) -> str:
    return found.folders[0] if found.folders else found.name


class _Packing:
    """One archive in the making."""

    def __init__(self, target: zipfile.ZipFile, own: Mapping[str, bytes], limit: int | None, *, compress: bool) -> None:
        self._target = target
        self._method = _method if compress else _stored
        self._reserved = own.keys()
        self._left = limit
        self._entered: list[int] = []  # for each folder, the number of entries when it was met
        self.omissions = Omissions()
        for name, data in sorted(own.items()):
            target.writestr(_info(name, time.time(), _FILE), data)

    def take(self, found: Found) -> None:
        """Packs one thing of the walk, or notes why not."""
        if found.step is Step.ENTER:
            self._entered.append(len(self._target.filelist))
        elif found.step is Step.LEAVE:
            self._leave(found)
        elif found.step is Step.BLOCKED:
            self._entered.pop()
            self._omit(found, _UNREADABLE)
        elif flaw := self._flaw(found):
            self._omit(found, flaw)
        else:
            self._open_and_pack(found)

    def _flaw(self, found: Found) -> str:
        """Why it is left out: what `unpack` would refuse would make the whole archive useless to the next run."""
        if len(found.folders) >= DEEPEST or len(os.fsencode(found.path)) > LONGEST_PATH:
            return "a path that is too long"
        if "\\" in found.path:
            return "a name with a backslash"  # other systems take it for a folder, or for a way out
        if _top(found) in self._reserved:
            return "the worker writes a file of that name itself"
        return found.flaw or ("in a folder with a bad name" if is_unreadable(found.path) else "")

    def _leave(self, found: Found) -> None:
        """Only a folder of which nothing was packed needs an entry of its own."""
        if self._entered.pop() == len(self._target.filelist) and not self._flaw(found):
            self._target.writestr(_info(f"{found.path}/", found.status.st_mtime, _FOLDER), b"")

    def _open_and_pack(self, found: Found) -> None:
        try:
            handle = found.open_file()
        except FileNotFoundError:
            return
        except OSError:
            self._omit(found, _UNREADABLE)
            return
        with os.fdopen(handle, "rb", buffering=0) as source:
            status = os.fstat(handle)
            if not self._fits(status.st_size):
                self._omit(found, "too large for what is left of the limit")
                return
            try:
                self._pack(found, status, _pieces(source, status.st_size))
            except _ReadError:
                self._omit(found, "could not be read to its end")

    def _pack(self, found: Found, status: os.stat_result, pieces: Iterator[bytes]) -> None:
        first = next(pieces, b"")
        info = _info(found.path, status.st_mtime, _EXECUTABLE if status.st_mode & 0o111 else _FILE)
        info.compress_type = self._method(first)
        info.file_size = status.st_size  # tells zipfile whether to keep room for zip64 lengths
        with self._target.open(info, "w") as target:
            for piece in chain((first,), pieces):
                target.write(piece)

    def _fits(self, size: int) -> bool:
        if self._left is None:
            return True
        fits = size <= self._left
        self._left -= size if fits else 0
        return fits

    def _omit(self, found: Found, reason: str) -> None:
        self.omissions.add("" if self.omissions.full else found.path, reason)


class _ReadError(Exception):
    """Reading failed, which is the container's affair; writing that fails is ours."""


def _pieces(source: IO[bytes], size: int) -> Iterator[bytes]:
    """The file's first `size` bytes, or what there is of them: a file that grows would never end."""
    while size:
        try:
            piece = source.read(min(size, _CHUNK))
        except OSError:
            raise _ReadError from None
        if not piece:
            return
        size -= len(piece)
        yield piece


def _method(first: bytes) -> int:
    """Deflates where the beginning shrinks by it; what is compressed already does not."""
    shrinks = len(zlib.compress(first, _LEVEL)) < len(first) * _WORTHWHILE
    return zipfile.ZIP_DEFLATED if shrinks else zipfile.ZIP_STORED


def _stored(_first: bytes) -> int:
    return zipfile.ZIP_STORED


def _info(name: str, modified: float, mode: int) -> zipfile.ZipInfo:
    date = time.gmtime(min(max(modified, _EARLIEST), _LATEST))[:6]
    info = zipfile.ZipInfo(name, date)
    info.create_system = 3  # Unix, whose modes these are
    info.external_attr = mode << 16 | (_FOLDER_FLAG if mode == _FOLDER else 0)
    info._compresslevel = _LEVEL  # type: ignore[attr-defined]  # noqa: SLF001 - public from Python 3.13 on only
    return info
