"""Whether the engine can hold the walls that the settings ask for: found out before any run is taken."""

from __future__ import annotations

import structlog

from config.settings import Settings
from sandbox.engine import ContainerEngine
from sandbox.engine_facts import HostFacts
from sandbox.errors import RuntimeUnavailable
from sandbox.runtime_check import check_runtime

_ROOTLESS = (
    "The container engine is rootless: what containers write would belong to users whose files this worker may "
    "neither read nor remove. Use an engine that runs as root, with userns-remap (docs/security.md)."
)
PODMAN = (
    "The container engine is Podman: that a container was killed for memory is told as its exit code, 137, "
    "for Podman's Docker-compatible API does not say why (docs/security.md)"
)

_log = structlog.get_logger(__name__)


class UnfitEngineError(Exception):
    """The engine cannot hold a wall that runs must have; the message says which and what to do."""


def check_fit(settings: Settings, engine: ContainerEngine, host: HostFacts) -> None:
    """Raises `UnfitEngineError`, or `EngineUnreachable`; logs a warning of what can be lived with."""
    check_kind(host)
    if settings.worker_runtime:
        try:
            check_runtime(engine, settings.worker_runtime)
        except RuntimeUnavailable as error:
            raise UnfitEngineError(f"WORKER_RUNTIME: {error}") from error
    if host.podman:
        _log.warning("engine is podman", consequence=PODMAN)


def check_kind(host: HostFacts) -> None:
    """Raises `UnfitEngineError` for an engine that can run no container as it must be run."""
    if host.rootless:
        raise UnfitEngineError(_ROOTLESS)
    if host.limits_not_held:
        raise UnfitEngineError(
            f"The container engine cannot hold containers to limits of {' and '.join(host.limits_not_held)}: "
            "give it the control groups for that (`docker info` says which are missing)."
        )
