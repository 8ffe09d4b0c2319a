"""A preflight that tries the limits of a container by a program that breaks them, without any registry."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from sandbox.canary_program import CPU_SECONDS, MANY_PROCESSES, MUCH_MEMORY, canary_program
from sandbox.engine import ContainerEngine, ContainerSpec, ContainerState
from sandbox.errors import EngineRefused, StartRefused
from sandbox.profile import SecurityProfile

_MIB = 1 << 20
_CPUS = 0.2
# At a fifth of a CPU the kernel hands out 20 ms in each 100 ms, so that 80 ms last for 300 ms at the least.
_LEAST_ELAPSED = 2.5 * CPU_SECONDS
_KILLED = 137
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class LimitsSeen:
    """Which limits held. `memory` None means that it was not come to, for the processes were not limited.

    `told` is False where nobody could tell that the limit of processes was come to.
    """

    processes: bool
    cpu: bool
    memory: bool | None
    told: bool = True


def try_limits(engine: ContainerEngine, *, runtime: str | None = None) -> LimitsSeen:
    """Runs `canary_program` with small limits; the engine's host must be of its architecture.

    Raises `EngineRefused` (no such runtime, say) and `EngineUnreachable`.
    """
    profile = SecurityProfile(memory=32 * _MIB, cpus=_CPUS, pids=32, shm_size=_MIB, runtime=runtime)
    with engine.empty_image(program=canary_program()) as image:
        name = f"codalab-limits-check-{uuid.uuid4().hex[:12]}"
        container = engine.create(ContainerSpec(name=name, image=image.id, profile=profile, command=("/program",)))
        try:
            engine.start(container)
            engine.wait(container, timeout=_PATIENCE)
            return replace(limits_seen(engine.inspect(container)), told=engine.was_crowded(container))
        except StartRefused as error:
            raise EngineRefused(f"The engine cannot start a program of 235 bytes: {error.detail}") from error
        finally:
            engine.remove(container)


def limits_seen(state: ContainerState) -> LimitsSeen:
    """What the end of the canary's container tells. Raises `EngineRefused` where it tells nothing."""
    elapsed = (state.finished_at or 0.0) - (state.started_at or 0.0)
    if state.exit_code == MANY_PROCESSES:
        return LimitsSeen(processes=False, cpu=False, memory=None)
    if state.exit_code not in {_KILLED, MUCH_MEMORY}:
        raise EngineRefused(f"The canary ended with exit code {state.exit_code}, which says nothing of its limits.")
    return LimitsSeen(processes=True, cpu=elapsed >= _LEAST_ELAPSED, memory=state.exit_code == _KILLED)
