"""What the engine remembers of what happened: its last few hundred events, gone with its process."""

from __future__ import annotations

import time
from itertools import islice
from typing import cast

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import translated

_REMEMBERED = 256  # events: Docker keeps as many, Podman more
_FIRST = 1.0  # of all times: zero would mean none


def was_up_at(api: EngineClient, moment: float) -> bool | None:
    """Whether this engine's process ran at that epoch second; None where its memory does not reach back so far."""
    if _any(api, _FIRST, moment):
        return True
    return None if _count(api, moment, time.time(), most=_REMEMBERED) == _REMEMBERED else False


def was_killed(api: EngineClient, container: str) -> bool:
    """Whether a signal was sent to it from outside, which the engine notes of itself, too, when it shuts down."""
    return _any(api, _FIRST, time.time(), {"container": container, "event": "kill"})


def was_out_of_memory(api: EngineClient, container: str, since: float | None) -> bool:
    """Whether the kernel killed some process of it for memory."""
    return _any(api, since or _FIRST, time.time(), {"container": container, "event": "oom"})


def _any(api: EngineClient, since: float, until: float, filters: dict[str, str] | None = None) -> bool:
    return _count(api, since, until, filters, most=1) > 0


def _count(api: EngineClient, since: float, until: float, filters: dict[str, str] | None = None, *, most: int) -> int:
    first, last = (cast("int", f"{moment:.9f}") for moment in (since, until))  # the API takes a fraction as text
    with translated("asking for its events"):
        return sum(1 for _ in islice(api.events(since=first, until=last, decode=True, filters=filters), most))
