"""One run, from its message to its terminal status."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from uuid import uuid4

import structlog

from protocol.faults import Fault, PassingFault, UnexpectedFault
from protocol.run import RunRequest
from protocol.status import State
from sandbox.gpu import GpuRequest
from worker.disk import room_needed
from worker.folders import RunFolder
from worker.records import PublishedRun
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

_log = structlog.get_logger(__name__)


def work(request: RunRequest, tools: Tools, control: RunControl, *, last_attempt: bool) -> State:
    """Works one run; returns its terminal status, which the site has surely been told by then.

    Raises `PassingFault` where another attempt may do better (never on the last attempt), and
    `InterruptedRunError` where `control` ended it; the site has been told no end then.
    """
    reporter = Reporter(request.task_id, request.secret, tools.updates, tools.settings.codalab_hostname)
    keep = tools.settings.dont_finalize_submission
    try:
        admit(request, tools)
        reporter.running()
        with room_needed(), tools.temp_dir.run_folder(request.message_id, keep=keep) as folder:
            published = _published(request, folder, tools, control, last_attempt=last_attempt)
            reporter.ingestion_duration = published.ingestion_duration
            return reporter.failed(published.fault, stderr_tail(folder)) if published.fault else reporter.finished()
    except Fault as early:  # of the stages' own only what is tried again comes here
        if isinstance(early, PassingFault) and not last_attempt:
            raise
        return reporter.failed(early)
    except InterruptedRunError:
        raise
    except Exception:  # noqa: BLE001 -- whatever happens, the site is told an end
        return reporter.failed(_unexpected())


def _published(
    request: RunRequest, folder: RunFolder, tools: Tools, control: RunControl, *, last_attempt: bool
) -> PublishedRun:
    """Works the stages, to where everything is stored that could be."""
    try:
        with room_needed():
            return _stages(request, folder, tools, control)
    except InterruptedRunError:
        raise
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


def _stages(request: RunRequest, folder: RunFolder, tools: Tools, control: RunControl) -> PublishedRun:
    staged = stage(request, folder, tools)
    control.check()
    with _gpus(tools) as gpus:
        context = RunContext(tools, control, gpus)
        with live_results(request, folder, tools):
            executed = execute(staged, context)
            scored = score(executed, context)
    return publish(scored, tools)


def _gpus(tools: Tools) -> AbstractContextManager[GpuRequest | None]:
    return tools.gpus.take() if tools.gpus else nullcontext()


def _store_logs(request: RunRequest, folder: RunFolder, tools: Tools) -> None:
    """The logs so far of a run that broke off, as well as it goes."""
    try:
        publish_logs(request, folder, (), tools)
    except Exception as error:  # noqa: BLE001 -- nothing may keep the site from being told
        _log.warning("logs could not be stored", reason=str(error))
