"""Waiting for a container engine that has gone away, for as long as its restart may take."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import tenacity

from sandbox.engine import ContainerEngine
from sandbox.errors import EngineUnreachable

PATIENCE = 120.0
"""Seconds that an engine may be away before a run is given up; less where runs are leased for less."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0

log = structlog.get_logger(__name__)


def wait_for_return(engine: ContainerEngine, sleep: Callable[[float], None], *, patience: float = PATIENCE) -> bool:
    """Returns once the engine answers; says whether it had been away. `sleep` may raise to end the wait.

    Raises `EngineUnreachable` after `patience` seconds.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(EngineUnreachable),
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE)
        + tenacity.wait_random(0, _FIRST_PAUSE),
        before_sleep=_say,
        sleep=sleep,
        reraise=True,
    )
    retrying(engine.host_facts)
    return bool(retrying.statistics["attempt_number"] > 1)


def _say(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1:
        log.warning("waiting for the container engine to come back")
