"""Zip archives that mean harm, each with the content of a good one where there is room for it."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain

from worker.demo.competition import zipped

_LOCAL, _CENTRAL, _END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def cut(content: Mapping[str, bytes]) -> bytes:
    """The archive without its last third: an upload that broke off."""
    whole = zipped({**content, "more": bytes(3000)})
    return whole[: len(whole) * 2 // 3]


def lying(content: Mapping[str, bytes]) -> bytes:
    """An archive with a file that is 32 MB long, and said to be ten bytes, in its directory and before its bytes."""
    bomb = bytearray(zipped({**content, "bomb": bytes(32 << 20)}))
    struct.pack_into("<L", bomb, bomb.rindex(_LOCAL) + 22, 10)
    struct.pack_into("<L", bomb, bomb.rindex(_CENTRAL) + 24, 10)
    return bytes(bomb)


def huge(content: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Says what it is: 32 MB in 32 kB."""
    buffer = io.BytesIO(zipped(content))
    with zipfile.ZipFile(buffer, "a", method) as archive:
        archive.writestr("zeros", bytes(32 << 20))
    return buffer.getvalue()


def slipping(content: Mapping[str, bytes]) -> bytes:
    return zipped({**content, "../../../../slipped": b"out"})


def absolute(content: Mapping[str, bytes]) -> bytes:
    return zipped({**content, "/slipped": b"out"})


def linked(content: Mapping[str, bytes]) -> bytes:
    return _with(content, _entry("link", 0o120777), b"/etc")


def behind_a_link(content: Mapping[str, bytes]) -> bytes:
    """What some programs would write to where the link leads."""
    buffer = io.BytesIO(linked(content))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("link/slipped", b"out")
    return buffer.getvalue()


def special(name: str, mode: int) -> bytes:
    """A device, a FIFO or a socket, by its mode."""
    return _with({}, _entry(name, mode), b"")


def twice(name: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name, b"first")
        archive.writestr(name, b"second")
    return buffer.getvalue()


def overlapping() -> bytes:
    """The first entry says that its bytes are all up to the directory, the second entry too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("aa", b"x" * 100)
        archive.writestr("bb", b"y" * 100)
    data = bytearray(buffer.getvalue())
    directory = data.index(_CENTRAL)
    swallowed = bytes(data[30 + len("aa") : directory])
    struct.pack_into("<3L", data, directory + 16, zlib.crc32(swallowed), len(swallowed), len(swallowed))
    return bytes(data)


def encrypted(content: Mapping[str, bytes]) -> bytes:
    return _flagged(content, 6, 8, 1)


def of_method(content: Mapping[str, bytes], method: int) -> bytes:
    return _flagged(content, 8, 10, method)


def one_of_several(content: Mapping[str, bytes]) -> bytes:
    data = bytearray(zipped(content))
    struct.pack_into("<H", data, data.rindex(_END) + 4, 3)
    return bytes(data)


def opened(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The data themselves and, where they are a zip archive, all that is in it with the names."""
    yield name, data
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = ((entry.encode(errors="replace"), archive.read(entry)) for entry in archive.namelist())
            yield f"{name}, unpacked", b"\n".join(chain.from_iterable(entries))


def _flagged(content: Mapping[str, bytes], local: int, central: int, value: int) -> bytes:
    data = bytearray(zipped(content))
    struct.pack_into("<H", data, data.index(_LOCAL) + local, value)
    struct.pack_into("<H", data, data.index(_CENTRAL) + central, value)
    return bytes(data)


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def _with(content: Mapping[str, bytes], info: zipfile.ZipInfo, data: bytes) -> bytes:
    buffer = io.BytesIO(zipped(content))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(info, data)
    return buffer.getvalue()
