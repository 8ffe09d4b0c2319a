"""Blocks of an Azure blob: the way to send more than a single PUT may hold.

Put Block and Put Block List take the same signature as the blob itself. A single PUT may hold 64 MiB,
256 MiB or 5000 MiB, by the service version that the site signed with; 4 MiB blocks are within the limit
of every version.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from protocol.urls import SignedUrl

_BLOCK = 4 * 1024 * 1024
_MOST_BLOCKS = 50_000


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the blob; all ids of a blob have one length, as the service demands."""

    id: str
    start: int
    length: int


def blocks(size: int) -> Iterator[Block]:
    """Cuts a blob of that size, into bigger blocks only where 4 MiB ones would be too many."""
    length = max(_BLOCK, -(-size // _MOST_BLOCKS))
    for number, start in enumerate(range(0, size, length)):
        name = base64.b64encode(f"{number:09d}".encode()).decode()
        yield Block(name, start, min(length, size - start))


def block_url(url: SignedUrl, block: Block) -> SignedUrl:
    """Where to put one block."""
    return _with_query(url, {"comp": "block", "blockid": block.id})


def block_list_url(url: SignedUrl) -> SignedUrl:
    """Where to put the list that makes the blocks a blob."""
    return _with_query(url, {"comp": "blocklist"})


def block_list(ids: list[str]) -> bytes:
    """The body of Put Block List."""
    lines = "".join(f"<Latest>{name}</Latest>" for name in ids)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{lines}</BlockList>'.encode()


def _with_query(url: SignedUrl, extra: dict[str, str]) -> SignedUrl:
    parts = urlsplit(url.reveal())
    return SignedUrl(urlunsplit(parts._replace(query=f"{parts.query}&{urlencode(extra)}")))
