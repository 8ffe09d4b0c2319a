"""A preflight that proves that the engine can hand GPUs to a container, without any image from a registry."""

from __future__ import annotations

import uuid

from sandbox.engine import ContainerEngine, ContainerSpec, StartRefused
from sandbox.errors import GpuUnavailable
from sandbox.gpu import GpuRequest
from sandbox.profile import SecurityProfile

_MIB = 1 << 20
_NOTHING = "/no-such-command"


def check_gpu(engine: ContainerEngine, request: GpuRequest) -> None:
    """Starts an empty container with these GPUs; the engine sets them up before it looks for the command.

    Raises `GpuUnavailable` with a sentence that names the mend, or `EngineRefused`, `EngineUnreachable`.
    """
    profile = SecurityProfile(memory=256 * _MIB, cpus=1, pids=64, shm_size=16 * _MIB, gpus=request)
    with engine.empty_image() as image:
        name = f"codalab-gpu-check-{uuid.uuid4().hex[:12]}"
        container = engine.create(ContainerSpec(name=name, image=image.id, profile=profile, command=(_NOTHING,)))
        try:
            engine.start(container)
        except StartRefused:
            return  # so the GPUs were given, and only the command is missing
        except GpuUnavailable as error:
            raise GpuUnavailable(_sentence(request, error)) from error
        finally:
            engine.remove(container)


def _sentence(request: GpuRequest, error: GpuUnavailable) -> str:
    wanted = ", ".join(request.ids) or "all GPUs"
    mend = "the engine's CDI support and its specifications" if request.by_cdi else "the NVIDIA Container Toolkit"
    return f"The container engine cannot give {wanted}: check the driver and {mend}. It says: {error}"
