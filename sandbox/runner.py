"""One container from its making to its removal: started, watched, drained, judged."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from types import TracebackType
from typing import Self

import structlog
import tenacity

from sandbox.engine import Attachment, ContainerEngine, ContainerSpec, ContainerState, NoSuchUser, StartRefused
from sandbox.errors import ContainerLost, EngineRefused, EngineUnreachable, SandboxError
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason, Outcome, outcome_of
from sandbox.patience import PATIENCE, wait_for_return
from sandbox.watchdog import Watchdog

# How long the output may go on after the container's end, and a killed container may take to end.
_DRAIN = 5.0
_END = 30.0
# Exit codes of what SIGTERM or SIGKILL ended, and of what a host took with it.
_SIGNALLED = {137, 143, 255}
# Images known to lack the user asked for; enough for every competition of a site.
_REMEMBERED = 1000

log = structlog.get_logger(__name__)


class Sandbox:
    """Makes containers on one engine, and remembers which images lack the user that is asked for.

    While one runs, the engine may be away for `patience` seconds.
    """

    def __init__(self, engine: ContainerEngine, *, patience: float = PATIENCE) -> None:
        self.engine = engine
        self.patience = patience
        self._lacking: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def container(self, spec: ContainerSpec, *, found: str | None = None) -> Container:
        """One container, not yet made: use it as a context manager. `found` is the id of one that was started."""
        return Container(self, spec, found=found)

    def lacks_user(self, spec: ContainerSpec) -> bool:
        """True where an earlier start has shown that the image has no user of that name."""
        with self._lock:
            return (spec.image, spec.user or "") in self._lacking

    def remember_lack(self, spec: ContainerSpec) -> None:
        """Notes that the image has no such user, so that the detour is made once only."""
        with self._lock:
            self._lacking[spec.image, spec.user or ""] = None
            while len(self._lacking) > _REMEMBERED:
                self._lacking.popitem(last=False)


class Container:
    """A container for one run. Entering makes it (another may still be running), leaving removes it.

    One that was `found` is taken over instead, running or ended: an earlier process of this worker began it.

    Entering raises `EngineRefused`, `EngineUnreachable` or `ImageNotFound`. A removal that fails is
    logged and left to `sandbox.sweep`, for it must not hide how the run went.
    """

    def __init__(self, sandbox: Sandbox, spec: ContainerSpec, *, found: str | None = None) -> None:
        self._sandbox = sandbox
        self._engine = sandbox.engine
        self._spec = spec
        self._watchdog = Watchdog(sandbox.engine, self._let_go)
        self._found = found
        self._id = found
        self._stopped = threading.Event()
        self._attachment: Attachment | None = None
        self._refusal: StartRefused | None = None

    def __enter__(self) -> Self:
        if self._found:
            return self
        if self._spec.fallback_user is not None and self._sandbox.lacks_user(self._spec):
            self._fall_back()
        try:
            self._make()
        except StartRefused as refusal:  # an image without a command: for `run` to tell
            self._refusal = refusal
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    @property
    def id(self) -> str | None:
        """The engine's id of the container, None where it could not be made."""
        return self._id

    def stop(self) -> None:
        """Has it ended now, from any thread, before `run` too: its outcome is then STOPPED."""
        self._watchdog.end(ExitReason.STOPPED)
        self._stopped.set()

    def run(self, *, time_limit: float, grace: float, logs: LogPair) -> Outcome:
        """Starts the program and returns when it has ended, `time_limit` + `grace` seconds later at most.

        Between the two it is sent SIGTERM and SIGKILL; one that was found has the time that it has left. Both
        logs are complete and closed afterwards. An engine that goes away is waited for.
        Raises `GpuUnavailable`, `EngineRefused`, `EngineUnreachable` or `ContainerLost`.
        """
        with logs:
            if self._watchdog.cause is not None:
                return Outcome(ExitReason.STOPPED, exit_code=0, elapsed=0.0)
            try:
                container = self._found or self._start()
            except StartRefused as refusal:
                log.info("container not started", reason=refusal.reason, detail=refusal.detail)
                return Outcome(ExitReason.COULD_NOT_START, refusal.exit_code, elapsed=0.0, note=refusal.reason)
            left = self._time_left(container, time_limit)
            self._watchdog.arm(container, time_limit=left, grace=grace)
            try:
                state = self._see_it_end(container, time.monotonic() + left + grace + _END, logs)
            finally:
                self._watchdog.ended()
            cause = self._cause(state, time_limit + grace)
            return outcome_of(state, cause, time_limit=time_limit, stderr_head=logs.stderr.head)

    def _time_left(self, container: str, time_limit: float) -> float:
        """Seconds; the clocks of this host and the engine's are taken to agree."""
        if not self._found:
            return time_limit
        started = self._known(container).started_at
        return max(0.0, time_limit - (time.time() - started)) if started else time_limit

    def _see_it_end(self, container: str, until: float, logs: LogPair) -> ContainerState:
        """Reads its output until it has ended, and again from the start when the engine has been away."""
        if not self._found:
            try:
                self._read_to_the_end(container, until, logs)
                return self._engine.inspect(container)
            except EngineUnreachable as away:
                self._wait_for_engine(until, away)
        while True:
            try:
                return self._see_it_end_again(container, until, logs)
            except EngineUnreachable as away:
                self._wait_for_engine(until, away)

    def _see_it_end_again(self, container: str, until: float, logs: LogPair) -> ContainerState:
        """As one that comes back to it: the engine has its output. Raises `ContainerLost`."""
        if self._known(container).running:
            self._reread(container, until, logs)
        self._reread(container, until, logs)  # whoever follows to the end may miss a last line without a newline
        state = self._known(container)
        if self._was_ended_by_engine(state):
            raise ContainerLost(f"The container ended with its engine, exit code {state.exit_code}.")
        return state

    def _reread(self, container: str, until: float, logs: LogPair) -> None:
        logs.replay()
        self._attachment = self._engine.follow(container)
        self._read_to_the_end(container, until, logs)

    def _was_ended_by_engine(self, state: ContainerState) -> bool:
        """Nobody was told why it ended: an engine that has begun since, or whose host has, ended it."""
        if state.finished_at is None or self._watchdog.cause is ExitReason.STOPPED:
            return False
        up = self._engine.was_up_at(state.finished_at)
        return state.exit_code in _SIGNALLED if up is None else not up

    def _cause(self, state: ContainerState, most: float) -> ExitReason | None:
        """Why it was ended; one that ran for longer than it might, while nobody watched, is no exception."""
        overran = state.started_at and state.finished_at and state.finished_at - state.started_at > most
        return self._watchdog.cause or (ExitReason.TIME_LIMIT if self._found and overran else None)

    def _known(self, container: str) -> ContainerState:
        try:
            return self._engine.inspect(container)
        except EngineRefused as error:
            raise ContainerLost(f"The container is gone: {error}") from error

    def _wait_for_engine(self, until: float, away: EngineUnreachable) -> None:
        """Raises that again where its return would be too late, or the container is to be stopped."""

        def sleep(seconds: float) -> None:
            if self._stopped.wait(seconds):
                raise away

        if time.monotonic() >= until:
            raise away
        wait_for_return(self._engine, sleep, patience=self._sandbox.patience)

    def _read_to_the_end(self, container: str, until: float, logs: LogPair) -> None:
        pump = threading.Thread(target=self._pump, args=(logs,), name="log-pump", daemon=True)
        pump.start()
        try:
            self._engine.wait(container, timeout=max(0.0, until - time.monotonic()))
            self._watchdog.ended()
            pump.join(_DRAIN)
        finally:
            self._let_go()
            pump.join(_DRAIN)

    def _pump(self, logs: LogPair) -> None:
        if self._attachment is not None:
            for stream, data in self._attachment.chunks():
                logs.write(stream, data)

    def _start(self) -> str:
        try:
            return self._started()
        except NoSuchUser:
            if self._spec.fallback_user is None:
                raise
        self._sandbox.remember_lack(self._spec)
        self._discard()
        self._fall_back()
        self._make()
        return self._started()

    def _started(self) -> str:
        if self._refusal is not None:
            raise self._refusal
        if self._id is None:
            raise RuntimeError("A container runs inside its with block only.")
        self._engine.start(self._id)
        return self._id

    def _fall_back(self) -> None:
        self._spec = replace(self._spec, user=self._spec.fallback_user, fallback_user=None)

    def _make(self) -> None:
        self._id = self._engine.create(self._spec)
        self._attachment = self._engine.attach(self._id)

    def _let_go(self) -> None:
        if self._attachment is not None:
            self._attachment.close()

    def _discard(self) -> None:
        self._let_go()
        if self._id is None:
            return
        try:
            _REMOVAL(self._engine.remove, self._id)
        except SandboxError as error:
            log.exception("container not removed", container=self._id, reason=str(error))
        self._id = self._attachment = None


_REMOVAL = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(EngineUnreachable),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_exponential(multiplier=0.25),
    reraise=True,
)
