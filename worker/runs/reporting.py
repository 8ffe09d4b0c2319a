"""What the site is told of one run: running, then exactly one of finished and failed."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future

import structlog

from protocol.addressee import Addressee
from protocol.faults import Fault, PlatformFault
from protocol.status import RunMetadata, State, StatusUpdate, may_follow
from worker.broker.updates import WithdrawnError
from worker.host_usage import host_usage
from worker.kept.journal import RunJournal
from worker.kept.journal_record import Terminal
from worker.run_control import InterruptedRunError, RunControl
from worker.tools import Tools, UpdateSink

_NOT_YOURS = "It is the platform's fault, not yours."

_log = structlog.get_logger(__name__)


def reporter(
    whom: Addressee, tools: Tools, control: RunControl | None = None, journal: RunJournal | None = None
) -> Reporter:
    """A reporter in this worker's name."""
    return Reporter(whom, tools.updates, tools.settings.codalab_hostname, control or RunControl(), journal)


class Reporter:
    """Sends the updates of one run; a terminal one returns only when the broker has confirmed it.

    With a `journal`, a terminal one is noted there before it is sent, and again when it is confirmed.
    """

    def __init__(
        self,
        whom: Addressee,
        updates: UpdateSink,
        hostname: str,
        control: RunControl,
        journal: RunJournal | None = None,
    ) -> None:
        self._whom = whom
        self._updates = updates
        self._hostname = hostname
        self._control = control
        self._journal = journal
        self._running: Future[None] | None = None
        self._begin = host_usage()
        self._told: State | None = None
        self.ingestion_duration: float | None = None
        """Seconds that the ingestion program took, once it has ended."""

    def running(self) -> None:
        """Tells that work has started, without waiting: the sink keeps the order."""
        control, update = self._control, self._update(State.RUNNING, self._metadata(ended=False))
        self._running = self._updates.send(update, lambda: not control.is_lost)

    def goes_on(self) -> None:
        """The site was told by an earlier process that work had started."""
        self._told = State.RUNNING

    @property
    def running_told(self) -> bool:
        """Whether the site has surely been told that work has started."""
        if self._running is None:
            return self._told is State.RUNNING
        return self._running.done() and not self._running.cancelled() and not self._running.exception()

    def again(self, terminal: Terminal) -> State:
        """Tells what an earlier process had found, in the same words, and may have told without knowing."""
        self._told = State.RUNNING
        _log.info("told again; nobody confirmed it before the worker ended", status=terminal.state.value)
        return self._tell(terminal)

    def finished(self) -> State:
        """Tells that the run ended well."""
        return self._end(State.FINISHED)

    def failed(self, fault: Fault, stderr: str = "") -> State:
        """Tells the fault's sentence, then the tail of stderr; the fault's detail stays in the log."""
        _log.info("fault", kind=type(fault).__name__, sentence=fault.sentence, detail=fault.detail)
        blame = f" {_NOT_YOURS}" if isinstance(fault, PlatformFault) else ""
        return self._end(State.FAILED, "\n\n".join(filter(None, (fault.sentence + blame, stderr))))

    def _end(self, state: State, traceback: str = "") -> State:
        self._control.check_not_lost()
        terminal = Terminal(state, self._metadata(ended=True), traceback)
        if self._journal:
            self._journal.note(terminal=terminal, durable=True)
        return self._tell(terminal)

    def _tell(self, terminal: Terminal) -> State:
        """Raises `InterruptedRunError` where the run is another worker's by now, or no confirm comes any more."""
        update = self._update(terminal.state, terminal.metadata, terminal.traceback)
        while not self._sent_while_ours(update):
            _log.info("the end of a run has waited for its connection; whether the run is still ours is asked again")
        if self._journal:
            self._journal.confirmed()
        _log.info("run ended", status=terminal.state.value)
        return terminal.state

    def _sent_while_ours(self, update: StatusUpdate) -> bool:
        """False where it was not sent: it waited so long that the broker has to be asked again."""
        self._control.wait_until_ours()
        try:
            confirmed = self._updates.send(update, lambda: self._control.is_ours)
            with self._control.losing(confirmed.cancel):
                confirmed.result()
        except WithdrawnError:
            return False
        except CancelledError:
            raise InterruptedRunError from None
        return True

    def _update(self, state: State, metadata: RunMetadata, traceback: str = "") -> StatusUpdate:
        if not may_follow(self._told, state):
            raise RuntimeError(f"the site was told {self._told} already and must not be told {state}")
        self._told = state
        return StatusUpdate(self._whom.task_id, state, metadata, traceback, secret=self._whom.secret)

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
