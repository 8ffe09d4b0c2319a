"""Runs that are held, each at a stage of its own, all in one worker at once, until something has happened to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from protocol.run import Role
from tests.support.bad_store import BadStore, Fault, Hold
from tests.support.competition import ANSWER, Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.private_queue import PrivateQueue, gated
from worker.demo.competition import zipped

_PATIENCE = 60.0
_LIMIT = 120  # seconds that a container may run, however loaded the machine is
_WAITING_SCORER = b"""
import pathlib, sys, time
output = pathlib.Path("/codalab/run/output")
while not (output / "gate").exists():
    time.sleep(0.02)
(output / "gate").unlink()
(output / "scores.txt").write_text("correct: 1\\n")
"""
_SCORER = zipped({"metadata": b"command: python3 $program/wait.py\n", "wait.py": _WAITING_SCORER})


class Stage(Enum):
    """Where a run is when the fault strikes."""

    STAGING = "while staging"
    PARTICIPANT = "while the participant's container runs"
    SCORING = "while the scoring program runs"
    LOGS = "while its logs are uploaded"
    ARCHIVES = "while its archives are uploaded"
    UNCONFIRMED = "when its end is told, before the confirm"
    TAKEN = "when it is taken, before `running` is told"
    UNACKNOWLEDGED = "when its end is confirmed, before the acknowledgement"


class HeldRuns:
    """Each stage but the last has its run; `message` and `submission` are by stage."""

    def __init__(
        self, queue: PrivateQueue, competition: Competition, store: BadStore, proxy: FaultProxy, events: EngineEvents
    ) -> None:
        self._queue, self._store, self._proxy, self._events = queue, store, proxy, events
        self._competition = competition
        self._holds: list[Hold] = []
        self.message: dict[Stage, str] = {}
        self.submission: dict[Stage, Submission] = {}

    def bring_to_their_stages(self) -> None:
        """Returns when each is where it belongs."""
        self._publish(Stage.PARTICIPANT, gated("later"))
        self._publish(Stage.UNCONFIRMED, gated("soon"))
        self._publish(Stage.SCORING, bundles={"program.zip": _SCORER})
        reached = [
            self._held(Stage.STAGING, "GET", "program.zip"),
            self._held(Stage.LOGS, "PUT", "stdout.txt"),
            self._held(Stage.ARCHIVES, "PUT", "output.zip"),
        ]
        for stage, role in {
            Stage.PARTICIPANT: Role.PARTICIPANT,
            Stage.UNCONFIRMED: Role.PARTICIPANT,
            Stage.SCORING: Role.SCORING,
        }.items():
            self._events.wait(self.message[stage], "start", role, timeout=_PATIENCE)
        for submission in self.submission.values():
            self._queue.site.wait_for(submission.task_id, "running")
        self._proxy.withhold("/", "server")
        self._queue.open_gate("soon")
        self._queue.site.wait_for(self.submission[Stage.UNCONFIRMED].task_id, "finished")
        reached.append(self._held(Stage.TAKEN, "GET", "run.txt"))
        for hold in reached:
            assert hold.held.wait(_PATIENCE)

    def release(self, then: Fault = Fault.NONE) -> None:
        """Lets everything go on; the store answers what it held so."""
        self._queue.open_gate("later")
        for hold in self._holds:
            hold.then = then
            hold.let_go.set()

    @contextmanager
    def scoring_let_go(self, temp_dir: Path) -> Iterator[None]:
        """Opens the scoring program's gate, in whichever folder its run goes on; nobody tells when that is made."""
        done = threading.Event()

        def open_gates() -> None:
            while not done.wait(0.1):
                for output in (temp_dir / "runs").glob(f"{self.message[Stage.SCORING]}-*/run/output"):
                    (output / "gate").touch()

        thread = threading.Thread(target=open_gates)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _held(self, stage: Stage, method: str, blob: str) -> Hold:
        submission = self._competition.docker_submission(execution_time_limit=_LIMIT)
        hold = self._store.hold(method, submission.blob(blob))
        self._holds.append(hold)
        self._send(stage, submission)
        return hold

    def _publish(self, stage: Stage, script: str = ANSWER, **changes: object) -> None:
        submission = self._competition.docker_submission(script, execution_time_limit=_LIMIT, **changes)
        self._send(stage, submission)

    def _send(self, stage: Stage, submission: Submission) -> None:
        self.submission[stage] = submission
        self.message[stage] = self._queue.publish(submission)
