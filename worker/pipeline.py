"""One run, from its message to its terminal status, from wherever an earlier process of this worker left it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import structlog

from protocol.faults import Fault, PassingFault, UnexpectedFault
from protocol.run import RunRequest
from protocol.status import State
from sandbox import labels
from sandbox.errors import ContainerLost, EngineUnreachable, SandboxError
from sandbox.gpu import GpuRequest
from sandbox.patience import wait_for_return
from sandbox.sweep import remove_leftovers
from worker.disk import room_needed
from worker.folders import RunFolder
from worker.journal import RunJournal
from worker.journal_record import Published, Staged
from worker.records import PublishedRun, StagedRun
from worker.reporting import Reporter
from worker.stages.admission import admit
from worker.stages.containers import RunContext
from worker.stages.execution import execute
from worker.stages.live import live_results
from worker.stages.publishing import publish, publish_logs
from worker.stages.run_logs import stderr_tail
from worker.stages.scoring import score
from worker.stages.staging import stage
from worker.tools import InterruptedRunError, RunControl, Tools

_STARTS = 3  # of a run whose engine goes away under it and comes back, before it counts as a failed attempt

_log = structlog.get_logger(__name__)


class _StartOverError(Exception):
    """The engine went away under the run and is back, and the run's containers are lost: it is worked anew."""


def work(request: RunRequest, tools: Tools, control: RunControl, *, last_attempt: bool) -> State:
    """Works one run; returns its terminal status, which the site has surely been told by then.

    Raises `PassingFault` where another attempt may do better (never on the last attempt), and
    `InterruptedRunError` where `control` ended it; the site has been told no end then.
    """
    journal = _journal(request, tools)
    try:
        return _told_again(request, tools, journal) or _worked(request, tools, control, journal, last=last_attempt)
    except (InterruptedRunError, PassingFault):
        if not journal.record.terminal:
            journal.forget()
        raise
    finally:
        if tools.gpus:
            tools.gpus.release(request.message_id)


def _journal(request: RunRequest, tools: Tools) -> RunJournal:
    """The journal to go on with; a fresh one where that cannot be, or a message of that id comes as a new one."""
    journal = tools.journals.of(request)
    record = journal.record
    if record.confirmed or (journal.resumed and not record.terminal and not tools.temp_dir.has_run(record.folder)):
        journal.restart()
    return journal


def _told_again(request: RunRequest, tools: Tools, journal: RunJournal) -> State | None:
    """Tells the end that an earlier process had come to; None where it had come to none."""
    if not (terminal := journal.record.terminal):
        return None
    folder = journal.record.folder
    state = _reporter(request, tools, journal).again(terminal)
    if not tools.settings.dont_finalize_submission:
        tools.temp_dir.remove_run(folder)
    return state


def _worked(request: RunRequest, tools: Tools, control: RunControl, journal: RunJournal, *, last: bool) -> State:
    for starts_left in reversed(range(_STARTS)):
        try:
            return _attempt(request, tools, control, journal, last=last, may_start_over=starts_left > 0)
        except _StartOverError:
            _log.warning("the run is worked anew; its container engine was restarted")
            journal.restart()
    raise RuntimeError("the last start may not be followed by another")


def _attempt(
    request: RunRequest, tools: Tools, control: RunControl, journal: RunJournal, *, last: bool, may_start_over: bool
) -> State:
    reporter = _reporter(request, tools, journal)
    keep = tools.settings.dont_finalize_submission
    try:
        _begin(request, tools, journal, reporter)
        resume = journal.record.folder
        with room_needed(), tools.temp_dir.run_folder(request.message_id, keep=keep, resume=resume) as folder:
            context = RunContext(tools, control, journal)
            published = _published(request, folder, context, reporter, last=last, may_start_over=may_start_over)
            reporter.ingestion_duration = published.ingestion_duration
            return reporter.failed(published.fault, stderr_tail(folder)) if published.fault else reporter.finished()
    except Fault as early:  # of the stages' own only what is tried again comes here
        if isinstance(early, PassingFault) and not last:
            raise
        return reporter.failed(early)
    except (InterruptedRunError, _StartOverError):
        raise
    except Exception:  # noqa: BLE001 -- whatever happens, the site is told an end
        return reporter.failed(_unexpected())


def _reporter(request: RunRequest, tools: Tools, journal: RunJournal) -> Reporter:
    return Reporter(request.task_id, request.secret, tools.updates, tools.settings.codalab_hostname, journal)


def _begin(request: RunRequest, tools: Tools, journal: RunJournal, reporter: Reporter) -> None:
    """Admits the run and tells the site that work has started, unless an earlier process has."""
    if journal.resumed:
        _log.info("run resumed", folder=journal.record.folder)
    else:
        admit(request, tools)
    if journal.record.running_told:
        reporter.goes_on()
    else:
        reporter.running()


def _published(
    request: RunRequest, folder: RunFolder, context: RunContext, reporter: Reporter, *, last: bool, may_start_over: bool
) -> PublishedRun:
    """Works the stages, to where everything is stored that could be."""
    if published := context.journal.record.published:
        return published.run()
    try:
        with room_needed():
            return _stages(request, folder, context, reporter)
    except InterruptedRunError:
        raise
    except Fault as known:
        context.control.check()
        if may_start_over and _lost_its_engine(known, context):
            raise _StartOverError from known
        if isinstance(known, PassingFault) and not last:
            raise
        fault = known
    except Exception:  # noqa: BLE001 -- a bug's logs are stored, too
        fault = _unexpected()
    _store_logs(request, folder, context)
    return PublishedRun(fault=fault)


def _lost_its_engine(fault: Fault, context: RunContext) -> bool:
    """Whether that is why the run broke off, and the engine is back, for which it waits; what is left is removed."""
    engine, cause = context.tools.sandbox.engine, fault.__cause__
    if not isinstance(cause, EngineUnreachable | ContainerLost):
        return False
    try:
        if not wait_for_return(engine, context.control.wait) and not isinstance(cause, ContainerLost):
            return False
        remove_leftovers(
            engine, {labels.WORKER: context.tools.worker_id, labels.RUN: context.journal.record.message_id}
        )
    except SandboxError as error:
        _log.warning("the container engine does not come back", reason=str(error))
        return False
    return True


def _unexpected() -> UnexpectedFault:
    """The fault of the exception in hand, which goes to the log under the reference that the site is told."""
    fault = UnexpectedFault(uuid4().hex[:12])
    _log.exception("unexpected error", reference=fault.reference)
    return fault


def _stages(request: RunRequest, folder: RunFolder, context: RunContext, reporter: Reporter) -> PublishedRun:
    staged = _staged(request, folder, context, reporter)
    context.control.check()
    with _gpus(context) as gpus:
        holding = replace(context, gpus=gpus)
        with live_results(request, folder, context.tools):
            executed = execute(staged, holding)
            scored = score(executed, holding)
    published = publish(scored, context)
    context.journal.note(published=Published.of(published))
    return published


def _staged(request: RunRequest, folder: RunFolder, context: RunContext, reporter: Reporter) -> StagedRun:
    """Fetched now, or by an earlier process: from here on the run can be gone on with."""
    journal = context.journal
    if known := journal.record.staged:
        return StagedRun(request, folder, known.programs, known.notes)
    staged = stage(request, folder, context.tools)
    journal.note(
        folder=folder.root.name,
        staged=Staged(staged.programs, staged.notes),
        running_told=journal.record.running_told or reporter.running_told,
    )
    return staged


@contextmanager
def _gpus(context: RunContext) -> Iterator[GpuRequest | None]:
    """The run's GPUs; the same ones where its containers hold some already."""
    if not context.tools.gpus:
        yield None
        return
    with context.tools.gpus.take(context.journal.record.message_id) as gpus:
        context.journal.note(gpus=gpus)
        yield gpus


def _store_logs(request: RunRequest, folder: RunFolder, context: RunContext) -> None:
    """The logs so far of a run that broke off, as well as it goes."""
    try:
        publish_logs(request, folder, context)
    except Exception as error:  # noqa: BLE001 -- nothing may keep the site from being told
        _log.warning("logs could not be stored", reason=str(error))
