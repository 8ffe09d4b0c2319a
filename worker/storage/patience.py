"""Waiting for a store that is away while results are ready: computing them again would cost more than minutes."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import tenacity

from worker.storage.errors import StoreUnavailable

UPLOAD_PATIENCE = 600.0
"""Seconds that a store which takes nothing is waited for."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0

_log = structlog.get_logger(__name__)


def patiently(upload: Callable[[], None], sleep: Callable[[float], None], *, what: str, patience: float) -> None:
    """Calls `upload` until it does not raise `StoreUnavailable`, for `patience` seconds; then raises that.

    The pauses grow, with jitter, for all workers wait for the same store. `sleep` may raise to end the wait.
    """

    def say(state: tenacity.RetryCallState) -> None:
        pause = round(state.upcoming_sleep, 1)
        _log.warning("waiting for the store to take results", slot=what, retry_in=pause, reason=_reason(state))

    tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(StoreUnavailable),
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE)
        + tenacity.wait_random(0, _FIRST_PAUSE),
        before_sleep=say,
        sleep=sleep,
        reraise=True,
    )(upload)


def _reason(state: tenacity.RetryCallState) -> str:
    return str(state.outcome.exception()) if state.outcome else ""
