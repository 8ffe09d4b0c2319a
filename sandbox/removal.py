"""Removing containers that have ended: at once, or beside what comes next."""

from __future__ import annotations

import threading
from contextvars import copy_context
from types import TracebackType
from typing import Self

import structlog
import tenacity

from sandbox.engine import ContainerEngine
from sandbox.errors import EngineUnreachable, SandboxError

_log = structlog.get_logger(__name__)


class Removals:
    """Removes containers while its block goes on, each on a thread of its own; its end waits for all of them."""

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine
        self._threads: list[threading.Thread] = []

    def begin(self, container: str) -> None:
        """Begins to remove a container, and returns."""
        arguments = (remove, self._engine, container)
        thread = threading.Thread(target=copy_context().run, args=arguments, name="removal")
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.join()


def remove(engine: ContainerEngine, container: str) -> None:
    """Removes a container, ended or not. One that cannot be is logged, and left to `sandbox.sweep`."""
    try:
        _TRIES(engine.remove, container)
    except SandboxError as error:
        _log.exception("container not removed", container=container, reason=str(error))


_TRIES = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(EngineUnreachable),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_exponential(multiplier=0.25),
    reraise=True,
)
