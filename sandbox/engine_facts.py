"""What a container engine says of itself and of the host that it runs on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The engine and the host that it runs on, as far as defaults and preflight need them. `memory` is bytes.

    `swap_limit` is False where the kernel does not hold containers to a limit of swap; `cdi` True
    where the engine injects devices by CDI name; `name` is what the host calls itself. `podman` tells
    Podman's Docker-compatible API from Docker's own engine, `rootless` an engine that runs without root's
    rights. `remapped_root` is (uid, gid) on the host of a container's root, None where that is root itself.
    `limits_not_held` names what the engine would accept as a limit, and then not hold a container to; `cpusets` is
    False where it would do so with a set of CPUs. `data_root` is
    its folder of images and containers, in its host's terms; empty where it does not say.
    """

    name: str
    engine_version: str
    cpus: int
    memory: int
    os_type: str
    swap_limit: bool
    runtimes: tuple[str, ...]
    cdi: bool
    podman: bool = False
    rootless: bool = False
    remapped_root: tuple[int, int] | None = None
    limits_not_held: tuple[str, ...] = ()
    cpusets: bool = True
    data_root: str = ""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What an operator wants to know of an engine. `clock` is epoch seconds, `warnings` are its own words."""

    version: str
    api_version: str
    storage_driver: str
    cgroup_version: str
    architecture: str
    default_runtime: str
    clock: float
    warnings: tuple[str, ...] = ()
