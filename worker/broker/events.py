"""Celery events of this worker and its runs, made where things happen and kept until the connection takes them.

Task events are on from the start, as with Celery's option `-E`: they cost nothing while nobody listens, hold nothing
that is secret, and a monitor that is started later has not missed what came before its first `enable_events`.
`disable_events` turns them off.
"""

from __future__ import annotations

import os
import platform
import threading
from collections import deque
from collections.abc import Callable
from importlib.metadata import version

from protocol import celery_events
from protocol.celery_events import Event, NodeLoad
from protocol.codalab import RUN_TASK
from worker.broker.run_info import public_args
from worker.observers import RunEnd, RunEnded, RunInWork

PERIOD = 10.0
"""Seconds between heartbeats. Celery's own two seconds would be five times the cost for a worker whose runs take
minutes; with ten a worker that dies without a word shows as offline after twenty, and a lost message makes no gap."""

_KEPT = 1000  # events that wait for a connection; the oldest go first


class WorkerEvents:
    """A `RunObserver` that tells monitors. Safe for several threads; `wake` is called whenever an event waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque(maxlen=_KEPT)
        self._started: dict[str, bool] = {}
        self._processed = 0
        self._tasks_enabled = True
        self._wake: Callable[[], None] | None = None
        self._version, self._system = version("codalab-worker"), platform.system()

    def start(self, wake: Callable[[], None]) -> None:
        """From now on events are kept, and `wake` is told."""
        self._wake = wake

    def stop(self) -> None:
        """Nobody takes them any more: keeps none."""
        self._wake = None
        self.take()

    @property
    def processed(self) -> int:
        """Runs taken so far."""
        return self._processed

    def enable_tasks(self, enabled: bool) -> bool:
        """Turns task events on or off; says whether that changed anything."""
        with self._lock:
            changed, self._tasks_enabled = self._tasks_enabled != enabled, enabled
        return changed

    def tell_worker(self, what: str) -> None:
        """`online`, `heartbeat` or `offline`."""
        with self._lock:
            active, processed = len(self._started), self._processed
        load = NodeLoad(PERIOD, active, processed, os.getloadavg(), self._version, self._system)
        self._tell(celery_events.worker_event(what, load))

    def take(self) -> list[Event]:
        """Those that wait, in order; they wait no longer."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def run_taken(self, run: RunInWork) -> None:
        """Tells `task-received`, and with a heartbeat that one run more is in work."""
        with self._lock:
            self._started[run.message_id] = False
            self._processed += 1
        args = repr(list(public_args(run)))
        self._tell_task(celery_events.task_received(run.message_id, RUN_TASK, args, run.attempt - 1))
        self.tell_worker("heartbeat")

    def run_stage(self, run: RunInWork, stage: str) -> None:
        """Tells `task-started` at the first stage, whichever that is."""
        del stage
        with self._lock:
            first = self._started.get(run.message_id) is False
            self._started[run.message_id] = True
        if first:
            self._tell_task(celery_events.task_started(run.message_id))

    def run_ended(self, run: RunInWork, ended: RunEnded) -> None:
        """Tells how it ended, and a heartbeat as above; of a run that another worker has now, that one tells."""
        with self._lock:
            started = self._started.pop(run.message_id, False)
        if event := _end(run.message_id, ended, started=started):
            self._tell_task(event)
        self.tell_worker("heartbeat")

    def _tell_task(self, event: Event) -> None:
        if self._tasks_enabled:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if wake := self._wake:
            with self._lock:
                self._waiting.append(event)
            wake()


def _end(uuid: str, ended: RunEnded, *, started: bool) -> Event | None:
    exception = f"{ended.fault}({ended.sentence!r})"
    match ended.end:
        case RunEnd.FINISHED:
            return celery_events.task_succeeded(uuid, ended.runtime)
        case RunEnd.FAILED:
            return celery_events.task_failed(uuid, exception, ended.sentence)
        case RunEnd.RETRIED:
            return celery_events.task_retried(uuid, exception, ended.sentence)
        case RunEnd.CANCELLED:
            return celery_events.task_revoked(uuid, terminated=started)
        case RunEnd.GIVEN_BACK:
            return celery_events.task_rejected(uuid)
        case RunEnd.LOST:
            return None
