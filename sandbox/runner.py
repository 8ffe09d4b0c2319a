"""One container from its making to its removal: started, watched, drained, judged."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from types import TracebackType
from typing import Self

import structlog
import tenacity

from sandbox.bounds import judged
from sandbox.engine import Attachment, ContainerEngine, ContainerSpec, NoSuchUser, StartRefused
from sandbox.errors import EngineUnreachable, SandboxError
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason, Outcome, outcome_of
from sandbox.watch import Watch
from sandbox.watchdog import Watchdog

# How long the output may go on after the container's end, and a killed container may take to end.
_DRAIN = 5.0
_END = 30.0
# Images known to be sound, or to lack the user asked for; enough for every competition of a site.
_REMEMBERED = 1000

log = structlog.get_logger(__name__)


class Sandbox:
    """Makes containers on one engine, and remembers of images whether they lack the user asked for, or cannot start."""

    def __init__(self, engine: ContainerEngine) -> None:
        self.engine = engine
        self._lacking: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._obstacles: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def container(self, spec: ContainerSpec) -> Container:
        """One container, not yet made: use it as a context manager."""
        return Container(self, spec)

    def lacks_user(self, spec: ContainerSpec) -> bool:
        """True where an earlier start has shown that the image has no user of that name."""
        with self._lock:
            return (spec.image, spec.user or "") in self._lacking

    def remember_lack(self, spec: ContainerSpec) -> None:
        """Notes that the image has no such user, so that the detour is made once only."""
        with self._lock:
            self._lacking[spec.image, spec.user or ""] = None
            if len(self._lacking) > _REMEMBERED:
                self._lacking.popitem(last=False)

    def check_startable(self, image: str, container: str) -> None:
        """Looks, once for each image, whether a start would hang. Raises `StartRefused` where it would.

        The engine reads the users and groups of an image before anything else: of a FIFO, for some ten minutes.
        """
        with self._lock:
            obstacle = self._obstacles.get(image)
        if obstacle is None:
            obstacle = self.engine.obstacle(container)
            with self._lock:
                self._obstacles[image] = obstacle
                if len(self._obstacles) > _REMEMBERED:
                    self._obstacles.popitem(last=False)
        if obstacle:
            raise StartRefused(f"{obstacle} in its image is no regular file")


class Container:
    """A container for one run. Entering makes it (another may still be running), leaving removes it.

    Entering raises `EngineRefused`, `EngineUnreachable` or `ImageNotFound`. A removal that fails is
    logged and left to `sandbox.sweep`, for it must not hide how the run went.
    """

    def __init__(self, sandbox: Sandbox, spec: ContainerSpec) -> None:
        self._sandbox = sandbox
        self._engine = sandbox.engine
        self._spec = spec
        self._watchdog = Watchdog(sandbox.engine, self._let_go)
        self._watch = Watch(spec.bounds, self._watchdog.end)
        self._id: str | None = None
        self._attachment: Attachment | None = None
        self._refusal: StartRefused | None = None

    def __enter__(self) -> Self:
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

    def stop(self, *, most_grace: float = float("inf")) -> None:
        """Has it ended now, from any thread, before `run` too: its outcome is then STOPPED.

        SIGKILL follows SIGTERM after the grace that `run` was given, or `most_grace` seconds if that is less.
        """
        self._watchdog.end(ExitReason.STOPPED, most_grace=most_grace)

    def run(self, *, time_limit: float, grace: float, logs: LogPair) -> Outcome:
        """Starts the program and returns when it has ended, `time_limit` + `grace` seconds later at most.

        Between the two it is sent SIGTERM and SIGKILL. Both logs are complete and closed afterwards.
        Raises `GpuUnavailable`, `EngineRefused` or `EngineUnreachable`.
        """
        with logs:
            if self._watchdog.cause is not None:
                return Outcome(ExitReason.STOPPED, exit_code=0, elapsed=0.0)
            self._watch.start()
            try:
                container = self._start()
                self._see_it_end(container, time_limit, grace, logs)
            except StartRefused as refusal:
                log.info("container not started", reason=refusal.reason, detail=refusal.detail)
                return Outcome(ExitReason.COULD_NOT_START, refusal.exit_code, elapsed=0.0, note=refusal.reason)
            finally:
                self._watch.close()
            return self._judge(container, time_limit, logs)

    def _judge(self, container: str, time_limit: float, logs: LogPair) -> Outcome:
        state = self._engine.inspect(container)
        outcome = outcome_of(state, self._watchdog.cause, time_limit=time_limit, stderr_head=logs.stderr.head)
        return judged(outcome, self._spec.bounds)

    def _see_it_end(self, container: str, time_limit: float, grace: float, logs: LogPair) -> None:
        pump = threading.Thread(target=self._pump, args=(logs,), name="log-pump", daemon=True)
        pump.start()
        self._watchdog.arm(container, time_limit=time_limit, grace=grace)
        if self._spec.profile.scratch is not None:
            self._watch.add_scratch(self._engine.scratch_meter(container), self._spec.profile.scratch)
        try:
            self._engine.wait(container, timeout=time_limit + grace + _END)
            self._watchdog.ended()
            pump.join(_DRAIN)
        finally:
            self._watchdog.ended()
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
        self._sandbox.check_startable(self._spec.image, self._id)
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
