"""Programs: one or more commands of one role, in turn, and two programs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace

from protocol.faults import Fault
from protocol.run import Role
from sandbox.engine import ContainerSpec
from sandbox.outcome import Outcome
from worker.kept.records import StagedRun
from worker.stages import containers
from worker.stages.admission import time_limit
from worker.stages.bounding import most
from worker.stages.containers import RunContext
from worker.stages.verdict import Limits, remarks, verdict
from worker.tools import Peers


@dataclass(frozen=True, slots=True)
class Ran:
    """How the commands of a program ended, up to the first that failed; none where it was never begun.

    `notes` are lines for the log of whoever made the program.
    """

    outcomes: tuple[Outcome, ...] = ()
    fault: Fault | None = None
    notes: tuple[str, ...] = ()


Program = Callable[[RunContext], Ran]
"""A program that is ready to run."""


def in_turn(specs: Iterable[ContainerSpec], role: Role, staged: StagedRun) -> Program:
    """Each command in a container of its own; the first that fails is the last."""

    def program(context: RunContext) -> Ran:
        ran = Ran()
        for index, spec in enumerate(specs):
            outcome = containers.run(spec, role, index, staged, context)
            limits = _limits(spec, staged, context)
            notes = (*ran.notes, *remarks(outcome, limits))
            ran = Ran((*ran.outcomes, outcome), verdict(outcome, role, limits), notes)
            if not outcome.ok:
                break
        return ran

    return program


def _limits(spec: ContainerSpec, staged: StagedRun, context: RunContext) -> Limits:
    settings = context.tools.settings
    return Limits(
        time=time_limit(staged.request, context.tools),
        memory=spec.profile.memory,
        pids=spec.profile.pids,
        output=most(settings),
        scratch=settings.worker_scratch_limit,
    )


def side_by_side(programs: Iterable[Program], context: RunContext) -> tuple[Ran, ...]:
    """All at once. When one fails the others are stopped: they would wait for it until their time is up."""
    peers = Peers()
    shared = replace(context, peers=peers)

    def one(program: Program) -> Ran:
        try:
            ran = program(shared)
        except BaseException:
            peers.stop()
            raise
        if ran.fault:
            peers.stop()
        return ran

    with ThreadPoolExecutor(thread_name_prefix="program") as pool:
        runs = [pool.submit(copy_context().run, one, program) for program in programs]
    return tuple(run.result() for run in runs)
