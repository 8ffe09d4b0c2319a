"""How a container ended: values, never exceptions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sandbox.engine import ContainerState

_KILLED = 137
_TERMINATED = 143
_NOT_STARTED = (126, 127)
# The engine's init process starts the program, and says so on stderr where it cannot.
_INIT_REFUSAL = re.compile(rb"\[FATAL tini \(\d+\)\] (exec .* failed: [^\n]*)")


class ExitReason(StrEnum):
    """Why a container is no longer running."""

    EXITED = "exited"
    TIME_LIMIT = "time-limit"
    OUT_OF_MEMORY = "out-of-memory"
    COULD_NOT_START = "could-not-start"
    OUTPUT_LIMIT = "output-limit"  # bytes in the folders that it may write to
    OUTPUT_FILES_LIMIT = "output-files-limit"  # names in them
    SCRATCH_LIMIT = "scratch-limit"  # bytes in its own writable layer
    STOPPED = "stopped"  # by the worker itself, for shutdown or cancellation


@dataclass(frozen=True, slots=True)
class Outcome:
    """One container, from start to end.

    `exit_code` is the engine's (137 after SIGKILL, 127 where it could not start); `elapsed` is
    seconds between the engine's own start and finish times. `oom_killed` says that the kernel
    killed some process for memory, which a container may survive. `note` holds the engine's
    reason where it could not start; it may name paths inside the image. `filled` is the limit of a
    folder that was full at the end, though the program did not fail: it may have lacked room. `crowded` says that at
    some moment it had as many processes and threads as it may have, which a program may survive.
    """

    reason: ExitReason
    exit_code: int
    elapsed: float
    oom_killed: bool = False
    note: str = ""
    filled: ExitReason | None = None
    crowded: bool = False

    @property
    def ok(self) -> bool:
        """True where the program ended by itself, with exit code 0."""
        return self.reason is ExitReason.EXITED and self.exit_code == 0


def outcome_of(state: ContainerState, cause: ExitReason | None, *, time_limit: float, stderr_head: bytes) -> Outcome:
    """The outcome of a container that has ended; `cause` is why the watchdog ended it, if it did."""
    elapsed = _elapsed(state)
    refusal = _INIT_REFUSAL.match(stderr_head) if state.exit_code in _NOT_STARTED else None
    reason, note = ExitReason.EXITED, state.error
    if cause is not None and not _ended_by_itself(state, cause, elapsed, time_limit):
        reason = cause
    elif state.oom_killed and state.exit_code == _KILLED:
        # The flag alone may mean a child, and 137 alone a kill by the program itself.
        reason = ExitReason.OUT_OF_MEMORY
    elif refusal:
        reason, note = ExitReason.COULD_NOT_START, refusal[1].decode("utf-8", "replace")
    return Outcome(reason, state.exit_code, elapsed, oom_killed=state.oom_killed, note=note)


def _elapsed(state: ContainerState) -> float:
    if state.started_at is None or state.finished_at is None:
        return 0.0
    return max(0.0, state.finished_at - state.started_at)


def _ended_by_itself(state: ContainerState, cause: ExitReason, elapsed: float, time_limit: float) -> bool:
    """True where the limit ran out while the news of a timely end was on its way."""
    in_time = cause is ExitReason.TIME_LIMIT and elapsed < time_limit
    return in_time and state.exit_code not in (_KILLED, _TERMINATED)
