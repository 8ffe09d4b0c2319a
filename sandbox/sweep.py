"""Removing containers that nobody owns any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from sandbox.engine import ContainerEngine
from sandbox.errors import EngineRefused

log = structlog.get_logger(__name__)


def remove_leftovers(engine: ContainerEngine, labels: Mapping[str, str]) -> int:
    """Removes every container, running or not, that carries all of `labels`; returns how many went.

    One that the engine will not remove is logged and left. Raises `EngineUnreachable`, and
    ValueError where `labels` is empty, for that would mean every container of the host.
    """
    if not labels:
        raise ValueError("Containers are removed by their labels only, and none was given.")
    return sum(_remove(engine, container) for container in engine.find_containers(labels))


def remove_all_but(engine: ContainerEngine, labels: Mapping[str, str], kept: Iterable[Mapping[str, str]]) -> int:
    """As `remove_leftovers`, but for containers that carry all labels of one of `kept`."""
    spared = {container for wanted in kept for container in engine.find_containers(wanted)}
    return sum(_remove(engine, container) for container in engine.find_containers(labels) if container not in spared)


def _remove(engine: ContainerEngine, container: str) -> bool:
    try:
        engine.remove(container)
    except EngineRefused as error:
        log.warning("leftover not removed", container=container, reason=str(error))
        return False
    return True
