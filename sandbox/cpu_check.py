"""A preflight that finds out whether the engine can hold containers to sets of CPUs, without any image."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.cpus import cpu_list, cpus_of
from sandbox.empty_container import empty_container
from sandbox.engine import ContainerEngine
from sandbox.errors import EngineRefused, StartRefused


def why_no_cpusets(engine: ContainerEngine, cpusets: Iterable[str]) -> str:
    """Starts an empty container on all of them together; empty where that goes, else why it does not.

    An engine may be confined to other CPUs than those that its host counts from 0, and so may its containers' own
    control group, which shows at a start only. Raises `EngineUnreachable`.
    """
    if not engine.host_facts().cpusets:
        return "the engine's kernel has no cpusets"
    together = cpu_list(cpu for cpuset in cpusets for cpu in cpus_of(cpuset))
    try:
        with empty_container(engine, "cpu-check", cpuset=together) as container:
            engine.start(container)
    except StartRefused:
        return ""  # so it was put on its CPUs, and only the command is missing
    except EngineRefused as error:
        return str(error)
    return ""
