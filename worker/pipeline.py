"""One run, from its message to its terminal status."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from uuid import uuid4

import structlog

from protocol.addressee import Addressee
from protocol.faults import CancelledFault, Fault, PassingFault, UnexpectedFault
from protocol.run import RunRequest
from protocol.status import State
from sandbox.errors import Cancelled
from sandbox.gpu import GpuRequest
from worker.disk import room_needed
from worker.folders import RunFolder
from worker.records import PublishedRun
from worker.reporting import Reporter, reporter
from worker.run_control import InterruptedRunError, Interruption, RunControl
from worker.stages.admission import admit
from worker.stages.containers import RunContext
from worker.stages.execution import execute
from worker.stages.live import live_results
from worker.stages.publishing import publish, publish_logs
from worker.stages.run_logs import stderr_tail
from worker.stages.scoring import score
from worker.stages.staging import stage
from worker.tools import Tools

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What the site has surely been told of a run's end; `fault` is why it failed."""

    state: State
    fault: Fault | None = None


OnStage = Callable[[str], None]
"""Called with the name of the stage that the run has come to: staging, participant, scoring, publishing."""


def work(
    request: RunRequest,
    tools: Tools,
    control: RunControl,
    *,
    last_attempt: bool,
    on_stage: OnStage = lambda _stage: None,
) -> Told:
    """Works one run; returns its end, which the site has surely been told by then.

    Raises `PassingFault` where another attempt may do better (never on the last attempt), and
    `InterruptedRunError` where `control` ended it to be given back or because it was lost; the site has been told
    no end then.
    """
    reporting = reporter(Addressee(request.task_id, request.secret), tools, control)
    keep = tools.settings.dont_finalize_submission
    try:
        admit(request, tools)
        reporting.running()
        with room_needed(), tools.temp_dir.run_folder(request.message_id, keep=keep) as folder:
            published = _published(request, folder, tools, control, last_attempt=last_attempt, on_stage=on_stage)
            reporting.ingestion_duration = published.ingestion_duration
            return _tell(reporting, published.fault, stderr_tail(folder))
    except Fault as early:  # of the stages' own only what is tried again comes here
        if isinstance(early, PassingFault) and not last_attempt:
            raise
        return _tell(reporting, early)
    except InterruptedRunError:
        raise
    except Exception:  # noqa: BLE001 -- whatever happens, the site is told an end
        return _tell(reporting, _unexpected())


def _tell(reporting: Reporter, fault: Fault | None, stderr: str = "") -> Told:
    return Told(reporting.failed(fault, stderr) if fault else reporting.finished(), fault)


def _published(
    request: RunRequest,
    folder: RunFolder,
    tools: Tools,
    control: RunControl,
    *,
    last_attempt: bool,
    on_stage: OnStage,
) -> PublishedRun:
    """Works the stages, to where everything is stored that could be."""
    fault: Fault
    try:
        with room_needed():
            return _stages(request, folder, tools, control, on_stage)
    except (InterruptedRunError, Cancelled):
        if control.reason is not Interruption.CANCELLED:
            raise InterruptedRunError from None
        fault = CancelledFault()
    except Fault as known:
        if isinstance(known, PassingFault) and not last_attempt:
            raise
        fault = known
    except Exception:  # noqa: BLE001 -- a bug's logs are stored, too
        fault = _unexpected()
    _store_logs(request, folder, tools)
    return PublishedRun(fault=fault)


def _unexpected() -> UnexpectedFault:
    """The fault of the exception in hand, which goes to the log under the reference that the site is told."""
    fault = UnexpectedFault(uuid4().hex[:12])
    _log.exception("unexpected error", reference=fault.reference)
    return fault


def _stages(
    request: RunRequest, folder: RunFolder, tools: Tools, control: RunControl, on_stage: OnStage
) -> PublishedRun:
    control.check()
    on_stage("staging")
    staged = stage(request, folder, tools, control.cancellation)
    control.check()
    with _gpus(tools, control) as gpus:
        context = RunContext(tools, control, gpus)
        with live_results(request, folder, tools):
            on_stage("participant")
            executed = execute(staged, context)
            on_stage("scoring")
            scored = score(executed, context)
    control.check()
    on_stage("publishing")
    return publish(scored, tools)


def _gpus(tools: Tools, control: RunControl) -> AbstractContextManager[GpuRequest | None]:
    return tools.gpus.take(control.cancellation) if tools.gpus else nullcontext()


def _store_logs(request: RunRequest, folder: RunFolder, tools: Tools) -> None:
    """The logs so far of a run that broke off, as well as it goes."""
    try:
        publish_logs(request, folder, (), tools)
    except Exception as error:  # noqa: BLE001 -- nothing may keep the site from being told
        _log.warning("logs could not be stored", reason=str(error))
