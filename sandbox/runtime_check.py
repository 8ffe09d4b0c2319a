"""A preflight that proves that the engine can start containers by an OCI runtime that is not its default."""

from __future__ import annotations

from sandbox.empty_container import empty_container
from sandbox.engine import ContainerEngine
from sandbox.errors import EngineRefused, RuntimeUnavailable, StartRefused

_PATIENCE = 60.0  # seconds; a runtime that boots a kernel of its own takes one or two

_PODMAN = (
    "Podman ignores the OCI runtime that its Docker-compatible API is asked for: make it the default in Podman's "
    "containers.conf, and leave this setting empty."
)


def check_runtime(engine: ContainerEngine, runtime: str) -> None:
    """Runs an empty container by it. That the engine lists a runtime does not prove that its program is there.

    Raises `RuntimeUnavailable` with a sentence that names the mend, or `EngineUnreachable`.
    """
    facts = engine.host_facts()
    if facts.podman:
        raise RuntimeUnavailable(_PODMAN)
    if runtime not in facts.runtimes and "." not in runtime:  # a shim's own name is known to containerd alone
        raise RuntimeUnavailable(
            f"The container engine has no OCI runtime {runtime}; it has {', '.join(facts.runtimes)}. "
            "Register it in the engine's daemon.json, and restart the engine."
        )
    try:
        with empty_container(engine, "runtime-check", runtime=runtime) as container:
            engine.start(container)
            engine.wait(container, timeout=_PATIENCE)
    except StartRefused:
        return  # so the runtime works, and only the command is missing
    except EngineRefused as error:
        raise RuntimeUnavailable(
            f"The container engine cannot start a container by its OCI runtime {runtime}: check that it is "
            f"installed, and that it runs by itself. {error}"
        ) from error
