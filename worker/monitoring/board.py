"""The runs in progress, and the last that ended: what the status page shows."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from worker.observers import RunEnded, RunInWork, Stage

_REMEMBERED = 50
_PROGRAMS: set[str] = {Stage.PARTICIPANT, Stage.SCORING}


@dataclass(frozen=True, slots=True)
class Progress:
    """A run in progress: its stage ("" before the first), and since when, in epoch seconds."""

    run: RunInWork
    stage: str
    since: float

    def time_left(self, now: float) -> float | None:
        """Seconds until the time limit of the programs of this stage; None in a stage without any.

        A program begins a moment after its stage, and one stage may run several: an estimate, and no promise.
        """
        return max(0.0, self.since + self.run.time_limit - now) if self.stage in _PROGRAMS else None


@dataclass(frozen=True, slots=True)
class Past:
    """A run that ended, at `at` epoch seconds."""

    run: RunInWork
    ended: RunEnded
    at: float


class Board:
    """A `RunObserver` that remembers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[RunInWork, Progress] = {}
        self._past: deque[Past] = deque(maxlen=_REMEMBERED)

    def run_taken(self, run: RunInWork) -> None:
        """As in `RunObserver`."""
        with self._lock:
            self._current[run] = Progress(run, "", time.time())

    def run_stage(self, run: RunInWork, stage: str) -> None:
        """As in `RunObserver`."""
        with self._lock:
            self._current[run] = Progress(run, stage, time.time())

    def run_ended(self, run: RunInWork, ended: RunEnded) -> None:
        """As in `RunObserver`."""
        with self._lock:
            self._current.pop(run, None)
            self._past.appendleft(Past(run, ended, time.time()))

    def current(self) -> tuple[Progress, ...]:
        """The runs in progress, in the order in which they were taken."""
        with self._lock:
            return tuple(self._current.values())

    def past(self) -> tuple[Past, ...]:
        """The last fifty that ended, the latest first."""
        with self._lock:
            return tuple(self._past)
