"""What the site is told and what the engine starts: the outside's view of every run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from protocol.run import Role
from sandbox.labels import RUN
from tests.chaos.place import UPDATES, Place
from tests.support.competition import Submission
from tests.support.engine_events import EngineEvents
from worker.broker.updates import Update, read_update
from worker.demo import engine


@dataclass(slots=True)
class Run:
    """One run by its message id, and the terminal statuses that the site was told of it."""

    message: str
    submission: Submission
    terminals: list[Update] = field(default_factory=list)

    @property
    def statuses(self) -> set[str]:
        return {update.status for update in self.terminals}

    @property
    def distinct(self) -> list[Update]:
        """One of each that say the same in every word."""
        found: list[Update] = []
        for update in self.terminals:
            if update not in found:
                found.append(update)
        return found

    @property
    def has_results(self) -> bool:
        """True where what was told to be finished is stored."""
        return self.statuses != {"finished"} or self.submission.has("output.zip")


class Witness:
    """Collects while its block lasts."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack = ExitStack()
        self._by_task: dict[object, Run] = {}
        self._lives: list[EngineEvents] = []
        self.runs: dict[str, Run] = {}

    def __enter__(self) -> Self:
        self.watch_engine(time.time())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def expect(self, message: str, submission: Submission) -> None:
        self.runs[message] = self._by_task[submission.task_id] = Run(message, submission)

    def watch_engine(self, since: float) -> None:
        """Again after its restart, whose memory of events ends with it."""
        self._client = self._stack.enter_context(closing(engine.connect(self._place.docker_host)))
        self._lives.append(self._stack.enter_context(EngineEvents(self._client, since)))

    def drain(self) -> None:
        """Takes in what the site was told since the last call."""
        with self._place.channel("/") as channel:
            while True:
                method, _properties, body = channel.basic_get(UPDATES, auto_ack=True)
                if method is None:
                    return
                update = read_update(body or b"")
                assert update, "the site was sent something that is no update"
                if update.terminal:
                    self._by_task[update.task_id].terminals.append(update)

    @property
    def open(self) -> list[Run]:
        """Whose end was not told yet."""
        return [run for run in self.runs.values() if not run.terminals]

    def recomputed(self) -> int:
        """Runs whose participant's container was started more than once."""
        started: Mapping[str, set[str]] = defaultdict(set)
        for events in self._lives:
            for run in self.runs:
                started[run].update(event.container for event in events.of(run, "start", Role.PARTICIPANT))
        return sum(len(containers) > 1 for containers in started.values())

    def containers_left(self) -> int:
        """Of any of these runs, in any state."""
        everyone: list[Any] = self._client.containers.list(all=True, filters={"label": RUN}, ignore_removed=True)
        return sum(one.labels[RUN] in self.runs for one in everyone)
