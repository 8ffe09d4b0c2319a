"""The bytes of one zip entry, expanded piece by piece: no decoder ever yields more than it was asked for.

The standard `zipfile` hands whole blocks to bzip2 and LZMA, where four kilobytes can become
gigabytes of memory at once.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import Protocol

from worker.archives.zip_directory import DAMAGED, BadArchive, Entry

_CHUNK = 256 * 1024
_FLAG_LZMA_END_MARK = 2
_LZMA_HEADER = 4  # version and length of the properties
_LZMA_PROPERTIES = 5
_LZMA_MEMORY = 128 * 1024 * 1024  # the strongest preset needs 65 MiB
STORED, DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def content(handle: int, entry: Entry, start: int) -> Iterator[bytes]:
    """The entry's bytes from the archive's offset `start` on.

    Raises `BadArchive` as soon as there are more of them than the directory says, and at the end
    where there are fewer or their checksum differs.
    """
    size = crc = 0
    for piece in _expanded(handle, entry, start):
        size += len(piece)
        crc = zlib.crc32(piece, crc)
        if size > entry.size:
            break
        yield piece
    if (size, crc) != (entry.size, entry.crc):
        raise BadArchive(DAMAGED, "/".join(entry.parts))


def _expanded(handle: int, entry: Entry, start: int) -> Iterator[bytes]:
    if entry.method == STORED:
        return _packed(handle, start, entry.packed)
    if entry.method == _LZMA:
        return _expand(*_lzma(handle, entry, start))
    if entry.method == _BZIP2:
        return _expand(bz2.BZ2Decompressor(), _packed(handle, start, entry.packed))
    if entry.method == DEFLATED:
        return _expand(_Inflate(), _packed(handle, start, entry.packed))
    raise BadArchive(f"uses compression method {entry.method}, which is not supported; deflate, the usual one, is")


def _packed(handle: int, start: int, length: int) -> Iterator[bytes]:
    while length:
        data = os.pread(handle, min(length, _CHUNK), start)
        if not data:
            raise BadArchive(DAMAGED)
        yield data
        start += len(data)
        length -= len(data)


def _expand(decoder: _Decoder, packed: Iterator[bytes]) -> Iterator[bytes]:
    for data in packed:
        piece = _decode(decoder, data)
        while piece:
            yield piece
            piece = b"" if decoder.eof or decoder.needs_input else _decode(decoder, b"")
    if not decoder.eof:
        raise BadArchive(DAMAGED)


def _decode(decoder: _Decoder, data: bytes) -> bytes:
    try:
        return decoder.decompress(data, _CHUNK)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):  # bzip2 says OSError
        raise BadArchive(DAMAGED) from None


def _lzma(handle: int, entry: Entry, start: int) -> tuple[_Decoder, Iterator[bytes]]:
    """Puts a .lzma header in place of zip's own: with it the decoder knows its end and has a memory limit."""
    header = _LZMA_HEADER + _LZMA_PROPERTIES
    properties = os.pread(handle, header, start)[_LZMA_HEADER:]
    size = (1 << 64) - 1 if entry.flags & _FLAG_LZMA_END_MARK else entry.size
    if entry.packed < header or len(properties) != _LZMA_PROPERTIES:
        raise BadArchive(DAMAGED)
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)
    _decode(decoder, properties + size.to_bytes(8, "little"))
    return decoder, _packed(handle, start + header, entry.packed - header)


class _Inflate:
    """zlib with the interface that bzip2 and LZMA have."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        piece = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self.needs_input = not self._inflate.unconsumed_tail and len(piece) < max_length
        return piece
