"""Inputs near the seeds: bytes flipped, cut, doubled, moved between seeds, numbers and words put in.

Written for speed: a generator that can shrink by itself made eighty inputs a second here, this one thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

_MOST_STEPS = 6
_LONGEST = 1 << 17  # bytes of an input
# Where parsers count, compare and nest.
_WORDS = (
    *(b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x01\x00", b"\x80", b"\xed\xa0\x80", b"\xc0"),
    *(b"..", b"/", b"//", b"../../x", b"\\", b"{}", b"{", b"[", b"[" * 40, b"]", b'"', b"'", b":", b": ", b"- ", b"\n"),
    *(b"-1", b"0", b"1e999", b"NaN", b"9" * 30, b"9" * 5000, b"null", b"true", b"\\u0000", b"\\ud800", b"%00", b"&#0;"),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"--privileged", b"-v", b"*a", b"&a"),
)


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A seed after a few changes."""
    data = random.choice(seeds)
    for _ in range(random.randint(1, _MOST_STEPS)):
        data = random.choice(_STEPS)(random, data, seeds)[:_LONGEST]
    return data


def smallest(data: bytes, is_find: Callable[[bytes], bool]) -> bytes:
    """What is left when every piece is taken out without which it is a find all the same."""
    length = len(data) // 2
    while length:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + length :]
            if is_find(shorter):
                data = shorter
            else:
                at += length
        length //= 2
    return data


def _place(random: Random, data: bytes) -> int:
    return random.randint(0, len(data))


def _piece(random: Random) -> bytes:
    return random.choice(_WORDS) if random.random() < 0.7 else random.randbytes(random.randint(1, 8))


def _flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + bytes(byte ^ (1 << random.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _overwrite(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, piece = _place(random, data), _piece(random)
    return data[:at] + piece + data[at + len(piece) :]


def _insert(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + _piece(random) + data[at:]


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + data[at + random.randint(1, 64) :]


def _repeat(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, length = _place(random, data), random.randint(1, 64)
    return data[:at] + data[at : at + length] * random.choice((2, 3, 20, 300)) + data[at + length :]


def _splice(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return data[: _place(random, data)] + other[_place(random, other) :]


def _shorten(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: _place(random, data)]


_STEPS = (_flip, _flip, _overwrite, _overwrite, _insert, _insert, _cut, _repeat, _splice, _shorten)
