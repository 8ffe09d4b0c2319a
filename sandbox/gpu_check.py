"""A preflight that proves that the engine can hand GPUs to a container, without any image from a registry."""

from __future__ import annotations

from sandbox.empty_container import empty_container
from sandbox.engine import ContainerEngine
from sandbox.errors import GpuUnavailable, StartRefused
from sandbox.gpu import GpuRequest

_PODMAN = (
    "Podman ignores requests for GPUs made through its Docker-compatible API, and runs the container without one: "
    "take a Docker engine for a worker with GPUs."
)


def check_gpu(engine: ContainerEngine, request: GpuRequest) -> None:
    """Starts an empty container with these GPUs; the engine sets them up before it looks for the command.

    Raises `GpuUnavailable` with a sentence that names the mend, or `EngineRefused`, `EngineUnreachable`.
    """
    if engine.host_facts().podman:
        raise GpuUnavailable(_PODMAN)
    with empty_container(engine, "gpu-check", gpus=request) as container:
        try:
            engine.start(container)
        except StartRefused:
            return  # so the GPUs were given, and only the command is missing
        except GpuUnavailable as error:
            raise GpuUnavailable(_sentence(request, error)) from error


def _sentence(request: GpuRequest, error: GpuUnavailable) -> str:
    wanted = ", ".join(request.ids) or "all GPUs"
    mend = "the engine's CDI support and its specifications" if request.by_cdi else "the NVIDIA Container Toolkit"
    return f"The container engine cannot give {wanted}: check the driver and {mend}. It says: {error}"
