"""What the site is told of one run: running, then exactly one of finished and failed."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future

import structlog

from protocol.addressee import Addressee
from protocol.faults import Fault, PlatformFault
from protocol.status import RunMetadata, State, StatusUpdate, may_follow
from worker.host_usage import host_usage
from worker.run_control import InterruptedRunError, RunControl
from worker.tools import Tools, UpdateSink

_NOT_YOURS = "It is the platform's fault, not yours."

_log = structlog.get_logger(__name__)


def reporter(whom: Addressee, tools: Tools, control: RunControl | None = None) -> Reporter:
    """A reporter in this worker's name."""
    return Reporter(whom, tools.updates, tools.settings.codalab_hostname, control or RunControl())


class Reporter:
    """Sends the updates of one run; a terminal one returns only when the broker has confirmed it."""

    def __init__(self, whom: Addressee, updates: UpdateSink, hostname: str, control: RunControl) -> None:
        self._whom = whom
        self._updates = updates
        self._hostname = hostname
        self._control = control
        self._begin = host_usage()
        self._told: State | None = None
        self.ingestion_duration: float | None = None
        """Seconds that the ingestion program took, once it has ended."""

    def running(self) -> None:
        """Tells that work has started, without waiting: the sink keeps the order."""
        self._send(State.RUNNING, self._metadata(ended=False))

    def finished(self) -> State:
        """Tells that the run ended well."""
        return self._end(State.FINISHED)

    def failed(self, fault: Fault, stderr: str = "") -> State:
        """Tells the fault's sentence, then the tail of stderr; the fault's detail stays in the log."""
        _log.info("fault", kind=type(fault).__name__, sentence=fault.sentence, detail=fault.detail)
        blame = f" {_NOT_YOURS}" if isinstance(fault, PlatformFault) else ""
        return self._end(State.FAILED, "\n\n".join(filter(None, (fault.sentence + blame, stderr))))

    def _end(self, state: State, traceback: str = "") -> State:
        """Raises `InterruptedRunError` where the run is another worker's by now, or no confirm comes any more."""
        self._control.check_not_lost()
        try:
            confirmed = self._send(state, self._metadata(ended=True), traceback)
            with self._control.losing(confirmed.cancel):
                confirmed.result()
        except CancelledError:
            raise InterruptedRunError from None
        _log.info("run ended", status=state.value)
        return state

    def _send(self, state: State, metadata: RunMetadata, traceback: str = "") -> Future[None]:
        if not may_follow(self._told, state):
            raise RuntimeError(f"the site was told {self._told} already and must not be told {state}")
        self._told = state
        return self._updates.send(
            StatusUpdate(self._whom.task_id, state, metadata, traceback, secret=self._whom.secret)
        )

    def _metadata(self, *, ended: bool) -> RunMetadata:
        begin, end = self._begin, host_usage() if ended else None
        return RunMetadata(
            hostname=self._hostname,
            ingestion_program_duration=self.ingestion_duration,
            beginning_virtual_memory_usage=begin.virtual_memory,
            beginning_swap_memory_usage=begin.swap_memory,
            beginning_cpu_usage=begin.cpu,
            end_virtual_memory_usage=end.virtual_memory if end else None,
            end_swap_memory_usage=end.swap_memory if end else None,
            end_cpu_usage=end.cpu if end else None,
        )
