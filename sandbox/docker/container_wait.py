"""Waiting for a container's end, for longer than one call of the SDK may last."""

from __future__ import annotations

import math
import time

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import translated
from sandbox.errors import EngineUnreachable

# A socket's time-out must stay below 2**31 milliseconds.
_LONGEST_WAIT = 86400.0


def wait_for_end(api: EngineClient, container: str, timeout: float | None) -> None:
    """Returns when it has ended; raises `EngineUnreachable` when `timeout` seconds pass first."""
    ends = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        began, left = time.monotonic(), ends - time.monotonic()
        spell = max(0.001, min(left, _LONGEST_WAIT))
        try:
            with translated("waiting for a container's end"):
                api.wait(container, timeout=spell)  # type: ignore[arg-type] # a fraction is fine
        except EngineUnreachable:
            # The SDK raises ConnectionError for both, so the clock tells a spell from a break.
            if left <= spell or time.monotonic() - began < spell:
                raise
        else:
            return
