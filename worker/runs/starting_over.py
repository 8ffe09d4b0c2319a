"""When a run is worked anew on the spot: its container engine went away under it, and has come back without it."""

from __future__ import annotations

import structlog

from protocol.faults import Fault
from sandbox import labels
from sandbox.errors import ContainerLost, EngineUnreachable, SandboxError
from sandbox.patience import wait_for_return
from sandbox.sweep import remove_leftovers
from worker.stages.containers import RunContext

STARTS = 3
"""Of one attempt at a run, before that counts as failed."""

_log = structlog.get_logger(__name__)


class StartOverError(Exception):
    """The run's containers are lost, and the engine is back."""


def lost_its_engine(fault: Fault, context: RunContext) -> bool:
    """Whether that is why the run broke off, and the engine is back, for which it waits; what is left is removed."""
    engine, cause = context.tools.sandbox.engine, fault.__cause__
    if not isinstance(cause, EngineUnreachable | ContainerLost):
        return False
    try:
        if not wait_for_return(
            engine, context.control.wait, patience=context.tools.sandbox.patience
        ) and not isinstance(cause, ContainerLost):
            return False
        remove_leftovers(
            engine, {labels.WORKER: context.tools.worker_id, labels.RUN: context.journal.record.message_id}
        )
    except SandboxError as error:
        _log.warning("the container engine does not come back", reason=str(error))
        return False
    return True
