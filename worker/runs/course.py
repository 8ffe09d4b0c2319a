"""The course of a run, stage by stage, to where everything is stored that could be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import structlog

from protocol.faults import CancelledFault, Fault, PassingFault, UnexpectedFault
from protocol.run import RunRequest
from sandbox.errors import Cancelled
from sandbox.removal import Removals
from sandbox.slots import Share
from worker.kept.disk import room_needed
from worker.kept.folders import RunFolder
from worker.kept.journal_record import Published, Staged
from worker.kept.records import PublishedRun, StagedRun
from worker.observers import Stage
from worker.run_control import InterruptedRunError, Interruption
from worker.runs.recovery import remove_containers
from worker.runs.reporting import Reporter
from worker.runs.starting_over import StartOverError, lost_its_engine
from worker.stages.containers import RunContext
from worker.stages.execution import execute
from worker.stages.live import live_results
from worker.stages.publishing import publish, publish_logs
from worker.stages.scoring import score
from worker.stages.staging import stage

_log = structlog.get_logger(__name__)


def take_course(
    request: RunRequest, folder: RunFolder, context: RunContext, reporter: Reporter, *, last: bool, may_start_over: bool
) -> PublishedRun:
    """Works the stages that no earlier process has. A run that breaks off has its logs so far stored.

    Raises `PassingFault` unless this is the `last` attempt, `InterruptedRunError` where the run is another's or given
    back, and `StartOverError` where it `may_start_over`.
    """
    if published := context.journal.record.published:
        context.on_stage(Stage.PUBLISHING)
        return published.run()
    fault: Fault
    try:
        with room_needed():
            return _stages(request, folder, context, reporter)
    except (InterruptedRunError, Cancelled):
        fault = _interrupted(context)
    except Fault as known:
        fault = _known(known, context, last=last, may_start_over=may_start_over)
    except Exception:  # noqa: BLE001 -- a bug's logs are stored, too
        fault = unexpected()
    if context.journal.resumed:  # what it has not come to runs on, and another run is to have its share of the host
        remove_containers(context.journal.record, context.tools)
    _store_logs(request, folder, context)
    return PublishedRun(fault=fault)


def unexpected() -> UnexpectedFault:
    """The fault of the exception in hand, which goes to the log under the reference that the site is told."""
    fault = UnexpectedFault(uuid4().hex[:12])
    _log.exception("unexpected error", reference=fault.reference)
    return fault


def _interrupted(context: RunContext) -> Fault:
    if context.control.reason is not Interruption.CANCELLED:
        raise InterruptedRunError from None
    return CancelledFault()


def _known(fault: Fault, context: RunContext, *, last: bool, may_start_over: bool) -> Fault:
    """What the site is told of it; raises where it is told nothing yet."""
    try:
        context.control.check()
        if may_start_over and lost_its_engine(fault, context):
            raise StartOverError from fault
    except InterruptedRunError:
        return _interrupted(context)
    if isinstance(fault, PassingFault) and not last:
        raise fault
    return fault


def _stages(request: RunRequest, folder: RunFolder, context: RunContext, reporter: Reporter) -> PublishedRun:
    with context.tools.images.kept_for(request.message_id), Removals(context.tools.sandbox.engine) as removals:
        return _staged_to_published(request, folder, replace(context, removals=removals), reporter)


def _staged_to_published(
    request: RunRequest, folder: RunFolder, context: RunContext, reporter: Reporter
) -> PublishedRun:
    context.control.check()
    context.on_stage(Stage.STAGING)
    staged = _staged(request, folder, context, reporter)
    context.control.check()
    if context.tools.walls:
        context.tools.walls.refill()
    with _share(context) as share:
        holding = replace(context, share=share)
        with live_results(request, folder, context.tools):
            context.on_stage(Stage.PARTICIPANT)
            executed = execute(staged, holding)
            context.on_stage(Stage.SCORING)
            scored = score(executed, holding)
    context.control.check()
    context.on_stage(Stage.PUBLISHING)
    published = publish(scored, context)
    context.journal.note(published=Published.of(published))
    return published


def _staged(request: RunRequest, folder: RunFolder, context: RunContext, reporter: Reporter) -> StagedRun:
    """Fetched now, or by an earlier process: from here on the run can be gone on with."""
    journal = context.journal
    if known := journal.record.staged:
        return StagedRun(request, folder, known.programs, known.notes)
    staged = stage(request, folder, context.tools, context.control.cancellation)
    journal.note(
        folder=folder.root.name,
        staged=Staged(staged.programs, staged.notes),
        running_told=journal.record.running_told or reporter.running_told,
    )
    return staged


@contextmanager
def _share(context: RunContext) -> Iterator[Share]:
    """The run's GPUs and CPUs; the same ones where its containers have some already."""
    with context.tools.slots.take(context.journal.record.message_id, context.control.cancellation) as share:
        if share != Share():
            context.journal.note(gpus=share.gpus, cpuset=share.cpuset)
        yield share


def _store_logs(request: RunRequest, folder: RunFolder, context: RunContext) -> None:
    """The logs so far of a run that broke off, as well as it goes."""
    try:
        publish_logs(request, folder, context)
    except Exception as error:  # noqa: BLE001 -- nothing may keep the site from being told
        _log.warning("logs could not be stored", reason=str(error))
