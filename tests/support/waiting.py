"""Waiting for what nobody tells of: it is looked at again and again, for as long as a machine may be stalled."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds; whoever waits for what comes in good time loses none of them."""
_EVERY = 0.02


def wait_until(true: Callable[[], bool], what: Callable[[], object] = lambda: "", timeout: float = PATIENCE) -> None:
    """Returns as soon as that is so; `what` is said where it does not come to that."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"it did not come to that within {timeout:g} s: {what()}"
        time.sleep(_EVERY)
