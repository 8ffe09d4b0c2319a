"""The central directory of a zip archive, one entry at a time: some name millions, and memory stays flat.

By PKWARE's APPNOTE.TXT 6.3 (4.3.12 to 4.3.16, 4.4, 4.5.3). The directory is what counts; a local
header only says where an entry's bytes begin, and must agree on the name.
"""

from __future__ import annotations

import os
import stat
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from worker.archives.left_out import printable

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s2BH4H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EXTRA = struct.Struct("<2H")
_LONGEST_COMMENT = 0xFFFF
_IN_ZIP64 = 0xFFFFFFFF
_ZIP64_EXTRA = 1
_FLAG_ENCRYPTED = 0x2041  # plain, strong, or with a masked directory
_FLAG_UTF8 = 0x800
_LONGEST_NAME = 255  # bytes of one path component: what Linux file systems take
LONGEST_PATH = 1024
"""Bytes that the path of an entry may have."""
DEEPEST = 64
"""Names that it may have, its folders' and its own."""

DAMAGED = "is damaged or cut short"


class BadArchive(Exception):
    """An archive that is not unpacked; `reason` goes on where "The archive …" left off.

    `entry` is the name of what is wrong in it, for whoever may know its contents.
    """

    def __init__(self, reason: str, entry: str = "") -> None:
        self.reason = reason
        self.entry = printable(entry)
        super().__init__(f"{reason} ({self.entry})" if entry else reason)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder as the directory tells it. `parts` is its path, `offset` that of its local header."""

    parts: tuple[str, ...]
    raw_name: bytes
    is_folder: bool
    executable: bool
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory lies in the file."""

    start: int
    end: int


def find_directory(handle: int) -> Directory:
    """Finds it by the record at the archive's end. Raises `BadArchive` where there is none."""
    size = os.fstat(handle).st_size
    window = max(0, size - _END.size - _LONGEST_COMMENT)
    tail = os.pread(handle, size - window, window)
    at = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - _END.size + 4))
    if at < 0:
        raise BadArchive(DAMAGED)
    _, disk, _, _, _, length, start, _ = _END.unpack_from(tail, at)
    end = window + at
    if _IN_ZIP64 in (length, start):
        disk, length, start, end = _find_zip64(handle, end)
    if disk:
        raise BadArchive("is one part of several")
    if start + length > end:
        raise BadArchive(DAMAGED)
    return Directory(start, start + length)


def entries(file: IO[bytes], directory: Directory) -> Iterator[Entry]:
    """Each entry in turn. Raises `BadArchive` for one that may not be unpacked, whatever it holds."""
    file.seek(directory.start)
    left = directory.end - directory.start
    while left:
        fields = _ENTRY.unpack(_read(file, _ENTRY.size))
        name, extra, comment = (_read(file, length) for length in fields[11:14])
        left -= _ENTRY.size + len(name) + len(extra) + len(comment)
        if fields[0] != b"PK\1\2" or left < 0:
            raise BadArchive(DAMAGED)
        entry = _entry(fields, name, extra)
        if entry.offset + entry.packed > directory.start:
            raise BadArchive(DAMAGED)
        yield entry


def data_offset(handle: int, entry: Entry) -> int:
    """Where the bytes of an entry begin. Raises `BadArchive` where its local header tells another name."""
    header = os.pread(handle, _LOCAL.size, entry.offset)
    if len(header) != _LOCAL.size:
        raise BadArchive(DAMAGED)
    *fields, name_length, extra_length = _LOCAL.unpack(header)
    name = os.pread(handle, name_length, entry.offset + _LOCAL.size)
    if fields[0] != b"PK\3\4" or name != entry.raw_name:
        raise BadArchive(DAMAGED)
    return entry.offset + _LOCAL.size + len(name) + int(extra_length)


def _find_zip64(handle: int, end: int) -> tuple[int, int, int, int]:
    locator = os.pread(handle, _END64_LOCATOR.size, max(0, end - _END64_LOCATOR.size))
    if len(locator) != _END64_LOCATOR.size or locator[:4] != b"PK\6\7":
        raise BadArchive(DAMAGED)
    _, _, at, _ = _END64_LOCATOR.unpack(locator)
    record = os.pread(handle, _END64.size, at) if at < end else b""
    if len(record) != _END64.size or record[:4] != b"PK\6\6":
        raise BadArchive(DAMAGED)
    _, _, _, _, disk, _, _, _, length, start = _END64.unpack(record)
    return disk, length, start, at


def _read(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise BadArchive(DAMAGED)
    return data


def _entry(fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> Entry:
    flags, method, crc = fields[4], fields[5], fields[8]
    size, packed, offset = _zip64(extra, fields[10], fields[9], fields[17])
    mode = fields[16] >> 16
    name = _decode(raw_name, flags)
    if flags & _FLAG_ENCRYPTED:
        raise BadArchive("is encrypted")
    kind = stat.S_IFMT(mode)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
        raise BadArchive(f"holds {what}", name)
    is_folder = name.endswith("/") or kind == stat.S_IFDIR
    executable = bool(mode & 0o111)
    return Entry(_parts(name), raw_name, is_folder, executable, flags, method, crc, packed, size, offset)


def _zip64(extra: bytes, *values: int) -> Iterator[int]:
    """Each of size, packed size and offset, from the zip64 extra field where the entry itself has no room."""
    wide = _extra_field(extra)
    for value in values:
        if value != _IN_ZIP64:
            yield value
        elif len(wide) < 8:  # noqa: PLR2004 - bytes of such a number
            raise BadArchive(DAMAGED)
        else:
            yield int.from_bytes(wide[:8], "little")
            wide = wide[8:]


def _extra_field(extra: bytes) -> bytes:
    while len(extra) >= _EXTRA.size:
        kind, length = _EXTRA.unpack_from(extra)
        if kind == _ZIP64_EXTRA:
            return extra[_EXTRA.size : _EXTRA.size + length]
        extra = extra[_EXTRA.size + length :]
    return b""


def _decode(raw: bytes, flags: int) -> str:
    """UTF-8 where it is, said or not (macOS does not say); else the code page of the format's first days."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if flags & _FLAG_UTF8:
            raise BadArchive("holds a name that is not UTF-8") from None
        return raw.decode("cp437")


def _parts(name: str) -> tuple[str, ...]:
    """The components of a path that stays below the folder it is unpacked to."""
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if name.startswith("/"):
        raise BadArchive("holds an absolute path", name)
    if ".." in parts:
        raise BadArchive("holds a path that leads out of it", name)
    if "\\" in name or any(unicodedata.category(char) == "Cc" for char in name):
        raise BadArchive("holds a path with a backslash or control character", name)
    if len(parts) > DEEPEST or len(name.encode()) > LONGEST_PATH:
        raise BadArchive("holds a path that is too long", name)
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise BadArchive("holds a name that is too long", name)
    return parts
