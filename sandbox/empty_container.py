"""A container without any program, made without any registry: it shows what the engine can do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sandbox.engine import ContainerEngine, ContainerSpec
from sandbox.gpu import GpuRequest
from sandbox.profile import SecurityProfile

_MIB = 1 << 20
_NOTHING = "/no-such-command"


@contextmanager
def empty_container(
    engine: ContainerEngine,
    purpose: str,
    *,
    gpus: GpuRequest | None = None,
    cpuset: str = "",
    runtime: str | None = None,
) -> Iterator[str]:
    """Its id, not yet started; its command is missing. It is gone after the block.

    Raises `EngineRefused` or `EngineUnreachable`.
    """
    limits = SecurityProfile(memory=256 * _MIB, cpus=1, pids=64, shm_size=16 * _MIB)
    profile = replace(limits, gpus=gpus, cpuset=cpuset, runtime=runtime)
    name = f"codalab-{purpose}-{uuid.uuid4().hex[:12]}"
    with engine.empty_image() as image:
        container = engine.create(ContainerSpec(name=name, image=image.id, profile=profile, command=(_NOTHING,)))
        try:
            yield container
        finally:
            engine.remove(container)
