"""One container from its making to its removal: started, watched, seen to its end, judged."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from sandbox.attendance import Attendance, Output
from sandbox.bounds import judged
from sandbox.engine import ContainerEngine, ContainerSpec, ContainerState
from sandbox.errors import NoSuchUser, StartRefused
from sandbox.known_images import KnownImages
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason, Outcome, outcome_of
from sandbox.patience import PATIENCE
from sandbox.removal import Removals, remove
from sandbox.watch import Watch
from sandbox.watchdog import Watchdog

# How long a killed container may take to end.
_END = 30.0

log = structlog.get_logger(__name__)


class Sandbox:
    """Makes containers on one engine, which may be away for `patience` seconds while one runs."""

    def __init__(self, engine: ContainerEngine, *, patience: float = PATIENCE) -> None:
        self.engine = engine
        self.patience = patience
        self.images = KnownImages(engine)

    def container(
        self, spec: ContainerSpec, *, found: str | None = None, removals: Removals | None = None
    ) -> Container:
        """One container, not yet made: use it as a context manager. `found` is the id of one that was started.

        With `removals` its removal is only begun at the end of the block.
        """
        return Container(self, spec, found=found, removals=removals)


class Container:
    """A container for one run. Entering makes it (another may still be running), leaving removes it.

    One that was `found` is taken over instead, running or ended: an earlier process of this worker began it.

    Entering raises `EngineRefused`, `EngineUnreachable` or `ImageNotFound`. A removal that fails is
    logged and left to `sandbox.sweep`, for it must not hide how the run went.
    """

    def __init__(
        self, sandbox: Sandbox, spec: ContainerSpec, *, found: str | None = None, removals: Removals | None = None
    ) -> None:
        self._sandbox = sandbox
        self._removals = removals
        self._engine = sandbox.engine
        self._spec = spec
        self._output = Output(sandbox.engine)
        self._watchdog = Watchdog(sandbox.engine, self._output.close)
        self._watch = Watch(spec.bounds, self._watchdog.end)
        self._found = found
        self._id = found
        self._stopped = threading.Event()
        self._refusal: StartRefused | None = None

    def __enter__(self) -> Self:
        if self._found:
            return self
        if self._spec.fallback_user is not None and self._sandbox.images.lacks_user(self._spec):
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
        self._discard(self._removals)

    @property
    def id(self) -> str | None:
        """The engine's id of the container, None where it could not be made."""
        return self._id

    def stop(self, *, most_grace: float = float("inf")) -> None:
        """Has it ended now, from any thread, before `run` too: its outcome is then STOPPED.

        SIGKILL follows SIGTERM after the grace that `run` was given, or `most_grace` seconds if that is less.
        """
        self._watchdog.end(ExitReason.STOPPED, most_grace=most_grace)
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
            self._watch.start()
            try:
                container = self._found or self._start()
                state = self._attend(container, time_limit, grace, logs)
            except StartRefused as refusal:
                log.info("container not started", reason=refusal.reason, detail=refusal.detail)
                return Outcome(ExitReason.COULD_NOT_START, refusal.exit_code, elapsed=0.0, note=refusal.reason)
            finally:
                self._watch.close()
            cause = self._cause(state, time_limit + grace)
            outcome = outcome_of(state, cause, time_limit=time_limit, stderr_head=logs.stderr.head)
            return judged(replace(outcome, crowded=self._engine.was_crowded(container)), self._spec.bounds)

    def _attend(self, container: str, time_limit: float, grace: float, logs: LogPair) -> ContainerState:
        attendance = Attendance(
            self._engine,
            self._output,
            ended=self._watchdog.ended,
            ended_by_us=lambda: self._watchdog.cause is not None,
            stopped=self._stopped,
            patience=self._sandbox.patience,
            found=self._found is not None,
        )
        left = self._time_left(attendance.known(container), time_limit) if self._found else time_limit
        self._watchdog.arm(container, time_limit=left, grace=grace)
        # What the engine knows it from is not kept for as long as a container may run.
        self._watch.add_glance(partial(self._engine.was_crowded, container))
        try:
            if self._spec.profile.scratch is not None:
                self._watch.add_scratch(partial(self._engine.scratch_meter, container), self._spec.profile.scratch)
            return attendance.to_the_end(container, time.monotonic() + left + grace + _END, logs)
        finally:
            self._watchdog.ended()

    @staticmethod
    def _time_left(state: ContainerState, time_limit: float) -> float:
        """Seconds; the clocks of this host and the engine's are taken to agree."""
        return max(0.0, time_limit - (time.time() - state.started_at)) if state.started_at else time_limit

    def _cause(self, state: ContainerState, most: float) -> ExitReason | None:
        """Why it was ended; one that ran for longer than it might, while nobody watched, is no exception."""
        overran = state.started_at and state.finished_at and state.finished_at - state.started_at > most
        return self._watchdog.cause or (ExitReason.TIME_LIMIT if self._found and overran else None)

    def _start(self) -> str:
        try:
            return self._started()
        except NoSuchUser:
            if self._spec.fallback_user is None:
                raise
        self._sandbox.images.remember_lack(self._spec)
        self._discard()
        self._fall_back()
        self._make()
        return self._started()

    def _started(self) -> str:
        if self._refusal is not None:
            raise self._refusal
        if self._id is None:
            raise RuntimeError("A container runs inside its with block only.")
        self._sandbox.images.check_startable(self._spec.image, self._id)
        self._engine.start(self._id)
        return self._id

    def _fall_back(self) -> None:
        self._spec = replace(self._spec, user=self._spec.fallback_user, fallback_user=None)

    def _make(self) -> None:
        self._id = self._engine.create(self._spec)
        self._output.attach(self._id)

    def _discard(self, removals: Removals | None = None) -> None:
        self._output.forget()
        if self._id is not None and removals:
            removals.begin(self._id)
        elif self._id is not None:
            remove(self._engine, self._id)
        self._id = None
