"""Sizes and durations as people write them in an `.env` file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:i?b)?|b)?\s*", re.IGNORECASE)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", re.IGNORECASE)
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: object) -> object:
    """Bytes of `512m`, `10GiB` or a plain number; a letter is a power of 1024, as Docker reads it."""
    if not isinstance(value, str):
        return value
    if not (match := _SIZE.fullmatch(value)):
        raise ValueError("is no size: write plain bytes, or for example 512m or 10GiB")
    return int(float(match[1]) * _BYTES[(match[2] or "").lower()])


def parse_duration(value: object) -> object:
    """Seconds of `10s`, `5m`, `1h` or a plain number."""
    if not isinstance(value, str):
        return value
    if not (match := _DURATION.fullmatch(value)):
        raise ValueError("is no duration: write plain seconds, or for example 10s, 5m or 1h")
    return float(match[1]) * _SECONDS[(match[2] or "").lower()]


def show_size(size: int) -> str:
    """As a person would write that number of bytes: `10GiB`, `512MiB`, else plain bytes."""
    for letter in "tgmk":
        if size and size % _BYTES[letter] == 0:
            return f"{size // _BYTES[letter]}{letter.upper()}iB"
    return str(size)


Size = Annotated[int, BeforeValidator(parse_size)]
"""A number of bytes."""

Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A length of time in seconds."""
