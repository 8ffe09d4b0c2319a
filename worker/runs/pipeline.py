"""One run, from its message to its terminal status, from wherever an earlier process of this worker left it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import structlog

from protocol.addressee import Addressee
from protocol.faults import Fault, LastingFault, PassingFault
from protocol.run import RunRequest
from protocol.status import State
from worker.host_usage import boot_id
from worker.kept.disk import room_needed
from worker.kept.journal import RunJournal
from worker.kept.journal_record import Record
from worker.run_control import InterruptedRunError, Interruption, RunControl
from worker.runs.course import take_course, unexpected
from worker.runs.recovery import remove_containers
from worker.runs.reporting import Reporter, reporter
from worker.runs.starting_over import STARTS, StartOverError
from worker.stages.admission import admit
from worker.stages.containers import OnStage, RunContext
from worker.stages.run_logs import stderr_tail
from worker.tools import Tools

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What the site has surely been told of a run's end; `fault` is why it failed."""

    state: State
    fault: Fault | None = None


def work(
    request: RunRequest,
    tools: Tools,
    control: RunControl,
    afterwards: ExitStack,
    *,
    last_attempt: bool,
    on_stage: OnStage = lambda _stage: None,
) -> Told:
    """Works one run; returns its end, which the site has surely been told by then.

    What nobody has to wait for once the message is settled, the folder's removal above all, is left to `afterwards`.
    Raises `PassingFault` where another attempt may do better (never on the last attempt), and `InterruptedRunError`
    where `control` ended it to be given back or because it was lost; the site has been told no end then.
    """
    context = RunContext(tools, control, _journal(request, tools), on_stage=on_stage)
    earlier = context.journal.record if context.journal.resumed else None
    try:
        with ExitStack() as unless_told:
            if earlier:  # a run may break off before it has come to them
                unless_told.callback(remove_containers, earlier, tools)
            told = _told_again(request, context, afterwards) or _worked(request, context, afterwards, last=last_attempt)
            afterwards.push(unless_told.pop_all())
            return told
    except (InterruptedRunError, PassingFault):
        if control.reason is Interruption.LOST or not context.journal.record.terminal:
            context.journal.forget()
        raise
    finally:
        tools.slots.release(request.message_id)
        tools.images.release(request.message_id)


def _journal(request: RunRequest, tools: Tools) -> RunJournal:
    """The journal to go on with; a fresh one where that cannot be, or a message of that id comes as a new one."""
    journal = tools.journals.of(request)
    record = journal.record
    if record.confirmed or not (record.terminal or _can_go_on(record, tools)):
        journal.restart()
    return journal


def _can_go_on(record: Record, tools: Tools) -> bool:
    """Whether its folder is there, and as it was left: what was mounted or not yet written goes with a host's life."""
    as_left = record.boot == boot_id() or record.published is not None
    return not record.folder or (as_left and tools.temp_dir.has_run(record.folder))


def _told_again(request: RunRequest, context: RunContext, afterwards: ExitStack) -> Told | None:
    """Tells the end that an earlier process had come to; None where it had come to none."""
    if not (terminal := context.journal.record.terminal):
        return None
    if not context.tools.settings.dont_finalize_submission:
        afterwards.callback(context.tools.temp_dir.remove_run, context.journal.record.folder)
    state = _reporter(request, context).again(terminal)
    sentence = terminal.traceback.partition("\n\n")[0]
    return Told(state, LastingFault(sentence) if state is State.FAILED else None)


def _worked(request: RunRequest, context: RunContext, afterwards: ExitStack, *, last: bool) -> Told:
    for starts_left in reversed(range(STARTS)):
        try:
            return _attempt(request, context, afterwards, last=last, may_start_over=starts_left > 0)
        except StartOverError:
            afterwards.close()
            _log.warning("the run is worked anew; its container engine was restarted")
            context.journal.restart()
    raise RuntimeError("the last start may not be followed by another")


def _attempt(
    request: RunRequest, context: RunContext, afterwards: ExitStack, *, last: bool, may_start_over: bool
) -> Told:
    reporting, tools = _reporter(request, context), context.tools
    keep, resume = tools.settings.dont_finalize_submission, context.journal.record.folder
    try:
        _begin(request, context, reporting)
        with room_needed():
            folder = afterwards.enter_context(tools.temp_dir.run_folder(request.message_id, keep=keep, resume=resume))
            published = take_course(request, folder, context, reporting, last=last, may_start_over=may_start_over)
            reporting.ingestion_duration = published.ingestion_duration
            return _tell(reporting, published.fault, stderr_tail(folder))
    except Fault as early:  # of the stages' own only what is tried again comes here
        if isinstance(early, PassingFault) and not last:
            raise
        return _tell(reporting, early)
    except (InterruptedRunError, StartOverError):
        raise
    except Exception:  # noqa: BLE001 -- whatever happens, the site is told an end
        return _tell(reporting, unexpected())


def _begin(request: RunRequest, context: RunContext, reporting: Reporter) -> None:
    """Admits the run and tells the site that work has started, unless an earlier process has."""
    journal = context.journal
    if journal.resumed:
        _log.info("run resumed", folder=journal.record.folder)
    else:
        admit(request, context.tools)
    if journal.record.running_told:
        reporting.goes_on()
    else:
        reporting.running()


def _reporter(request: RunRequest, context: RunContext) -> Reporter:
    whom = Addressee(request.task_id, request.secret)
    return reporter(whom, context.tools, context.control, context.journal)


def _tell(reporting: Reporter, fault: Fault | None, stderr: str = "") -> Told:
    return Told(reporting.failed(fault, stderr) if fault else reporting.finished(), fault)
