"""How the engine's host is shared out among the runs that a worker works side by side."""

from __future__ import annotations

import structlog

from config.settings import Settings
from sandbox.cpu_check import why_no_cpusets
from sandbox.cpus import cpu_order, cpu_sets
from sandbox.engine import ContainerEngine
from sandbox.engine_facts import HostFacts
from sandbox.gpu import GpuRequest
from sandbox.slots import Share

_log = structlog.get_logger(__name__)


def share_out(
    settings: Settings, engine: ContainerEngine, host: HostFacts, gpus: tuple[GpuRequest, ...] | None
) -> tuple[Share, ...]:
    """A share for each slot. There are no more slots than GPUs can be had for: no run that was taken waits for one.

    `gpus` are what each of the runs gets that can have some at a time, None where runs are given none.
    Raises `EngineRefused` or `EngineUnreachable`.
    """
    count = slots(settings, gpus)
    if count < settings.worker_concurrency:
        _log.warning("fewer runs at a time than asked for, since each has its GPUs to itself", slots=count)
    cpusets = _cpusets(settings, engine, host, count)
    return tuple(Share(gpus[place] if gpus else None, cpusets[place] if cpusets else "") for place in range(count))


def slots(settings: Settings, gpus: tuple[GpuRequest, ...] | None) -> int:
    """How many runs are worked side by side."""
    return settings.worker_concurrency if gpus is None else min(settings.worker_concurrency, len(gpus))


def _cpusets(settings: Settings, engine: ContainerEngine, host: HostFacts, count: int) -> tuple[str, ...]:
    """Disjoint ones, where nobody has said how much a run gets, and there is a whole CPU for each; else none."""
    if count == 1 or settings.worker_cpu_limit:
        return ()
    cpusets = cpu_sets(cpu_order(host.cpus), count)
    if cpusets and (why := why_no_cpusets(engine, cpusets)):
        _log.warning("runs are held to their share of CPU time, but not to CPUs of their own", reason=why)
        return ()
    if cpusets:
        _log.info("each run has CPUs of its own", cpus=list(cpusets))
    return cpusets
