"""Inputs near the seeds: bytes flipped, cut, doubled, moved between seeds, numbers and words put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from hypothesis import strategies as st

_MOST_STEPS = 8
_LONGEST = 1 << 17
# Where parsers count, compare and nest.
_WORDS = (
    *(b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x01\x00", b"\x80", b"\xed\xa0\x80", b"\xc0"),
    *(b"..", b"/", b"//", b"../../x", b"\\", b"{}", b"{", b"[", b"[" * 40, b"]", b'"', b"'", b":", b": ", b"- ", b"\n"),
    *(b"-1", b"0", b"1e999", b"NaN", b"9" * 30, b"9" * 5000, b"null", b"true", b"\\u0000", b"\\ud800", b"%00", b"&#0;"),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"--privileged", b"-v", b"*a", b"&a"),
)

Step = Callable[[bytes], bytes]


def inputs(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A strategy of inputs; the simplest, to which a find is shrunk, is a seed as it stands."""
    steps = st.lists(_steps(seeds), max_size=_MOST_STEPS)
    return st.builds(lambda seed, done: reduce(lambda data, step: step(data), done, seed), st.sampled_from(seeds), steps)


def _steps(seeds: Sequence[bytes]) -> st.SearchStrategy[Step]:
    place, other = st.integers(0, 1 << 16), st.integers(0, 1 << 16)
    piece = st.one_of(st.sampled_from(_WORDS), st.binary(min_size=1, max_size=16))
    return st.one_of(
        st.builds(_overwrite, place, piece),
        st.builds(_insert, place, piece),
        st.builds(_cut, place, st.integers(1, 64)),
        st.builds(_repeat, place, st.integers(1, 64), st.integers(2, 200)),
        st.builds(_splice, place, st.sampled_from(seeds), other),
        st.builds(_shorten, place),
    )


def _at(data: bytes, place: int) -> int:
    return place % (len(data) + 1)


def _overwrite(place: int, piece: bytes) -> Step:
    return lambda data: data[: _at(data, place)] + piece + data[_at(data, place) + len(piece) :]


def _insert(place: int, piece: bytes) -> Step:
    return lambda data: data[: _at(data, place)] + piece + data[_at(data, place) :]


def _cut(place: int, length: int) -> Step:
    return lambda data: data[: _at(data, place)] + data[_at(data, place) + length :]


def _repeat(place: int, length: int, times: int) -> Step:
    def repeated(data: bytes) -> bytes:
        at = _at(data, place)
        return (data[:at] + data[at : at + length] * times + data[at + length :])[:_LONGEST]

    return repeated


def _splice(place: int, seed: bytes, start: int) -> Step:
    return lambda data: data[: _at(data, place)] + seed[_at(seed, start) :]


def _shorten(place: int) -> Step:
    return lambda data: data[: _at(data, place)]
