"""Seeing a started container to its end, its output read whole, whatever becomes of its engine meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sandbox.engine import Attachment, ContainerEngine, ContainerState
from sandbox.errors import ContainerLost, EngineRefused, EngineUnreachable
from sandbox.logs import LogPair
from sandbox.patience import wait_for_return

# How long the output may go on after the container's end.
_DRAIN = 5.0
# Exit codes of what SIGTERM or SIGKILL ended, and of what a host took with it.
_SIGNALLED = {137, 143, 255}


class Output:
    """What one container writes: attached to from before its first byte, or followed again from the start."""

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine
        self._attachment: Attachment | None = None

    def attach(self, container: str) -> None:
        """Before its start."""
        self._attachment = self._engine.attach(container)

    def follow(self, container: str) -> None:
        """After its start: from the first byte that the engine has kept."""
        self._attachment = self._engine.follow(container)

    def close(self) -> None:
        """Lets go at once, from any thread."""
        if self._attachment is not None:
            self._attachment.close()

    def forget(self) -> None:
        """There is no container any more."""
        self.close()
        self._attachment = None

    def pump(self, logs: LogPair) -> None:
        """Copies all that comes."""
        if self._attachment is not None:
            for stream, data in self._attachment.chunks():
                logs.write(stream, data)


class Attendance:
    """`ended` is called as soon as the container has ended; `stopped` is set where it is to be stopped.

    One that was `found` was started by an earlier process of this worker. An engine that goes away is waited for,
    `patience` seconds at most, unless the container is to be stopped.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        output: Output,
        *,
        ended: Callable[[], None],
        ended_by_us: Callable[[], bool],
        stopped: threading.Event,
        patience: float,
        found: bool,
    ) -> None:
        self._engine = engine
        self._output = output
        self._ended = ended
        self._ended_by_us = ended_by_us
        self._stopped = stopped
        self._patience = patience
        self._found = found

    def to_the_end(self, container: str, until: float, logs: LogPair) -> ContainerState:
        """How it ended, at `until` of the monotonic clock at the latest.

        Raises `ContainerLost`, `EngineRefused` or `EngineUnreachable`.
        """
        if not self._found:
            try:
                self._read_to_the_end(container, until, logs)
                return self._unless_killed_by_another(container)
            except EngineUnreachable as away:
                self._wait_for_engine(until, away)
        while True:
            try:
                return self._see_it_end_again(container, until, logs)
            except EngineUnreachable as away:
                self._wait_for_engine(until, away)

    def _unless_killed_by_another(self, container: str) -> ContainerState:
        """An engine that shuts down ends its containers first, and still answers for a moment."""
        state = self._engine.inspect(container)
        if state.exit_code in _SIGNALLED and not self._ended_by_us() and self._engine.was_killed(container):
            raise ContainerLost(f"The container was ended by its engine, exit code {state.exit_code}.")
        return state

    def known(self, container: str) -> ContainerState:
        """How it is now. Raises `ContainerLost` where it is gone."""
        try:
            return self._engine.inspect(container)
        except EngineRefused as error:
            raise ContainerLost(f"The container is gone: {error}") from error

    def _see_it_end_again(self, container: str, until: float, logs: LogPair) -> ContainerState:
        """As one that comes back to it: the engine has its output."""
        if self.known(container).running:
            self._reread(container, until, logs)
        self._reread(container, until, logs)  # whoever follows to the end may miss a last line without a newline
        state = self.known(container)
        if not self._stopped.is_set() and self._was_ended_by_engine(state):
            raise ContainerLost(f"The container ended with its engine, exit code {state.exit_code}.")
        return state

    def _reread(self, container: str, until: float, logs: LogPair) -> None:
        logs.replay()
        self._output.follow(container)
        self._read_to_the_end(container, until, logs)

    def _was_ended_by_engine(self, state: ContainerState) -> bool:
        """Nobody was told why it ended: an engine that has begun since, or whose host has, ended it."""
        if state.finished_at is None:
            return False
        up = self._engine.was_up_at(state.finished_at)
        return state.exit_code in _SIGNALLED if up is None else not up

    def _wait_for_engine(self, until: float, away: EngineUnreachable) -> None:
        """Raises that again where its return would be too late, or the container is to be stopped."""

        def sleep(seconds: float) -> None:
            if self._stopped.wait(seconds):
                raise away

        if time.monotonic() >= until:
            raise away
        wait_for_return(self._engine, sleep, patience=self._patience)

    def _read_to_the_end(self, container: str, until: float, logs: LogPair) -> None:
        pump = threading.Thread(target=self._output.pump, args=(logs,), name="log-pump", daemon=True)
        pump.start()
        try:
            self._engine.wait(container, timeout=max(0.0, until - time.monotonic()))
            self._ended()
            pump.join(_DRAIN)
        finally:
            self._output.close()
            pump.join(_DRAIN)
