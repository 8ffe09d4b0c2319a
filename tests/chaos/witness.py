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
from tests.chaos.place import Place
from tests.chaos.site import Site
from tests.support.competition import Submission
from tests.support.engine_events import EngineEvents
from tests.support.telling import Telling, telling_of
from worker.demo import engine


@dataclass(slots=True)
class Run:
    """One run by its message id, and the terminal statuses that the site was told of it."""

    message: str
    submission: Submission
    tellings: list[Telling] = field(default_factory=list)

    @property
    def statuses(self) -> set[str]:
        return {telling.update.status for telling in self.tellings}

    @property
    def distinct(self) -> list[Telling]:
        """The first telling of each that says the same in every word."""
        found: list[Telling] = []
        for telling in self.tellings:
            if telling.update not in [one.update for one in found]:
                found.append(telling)
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
        self._site = self._stack.enter_context(Site(lambda: self._place.channel("/"), self._told))
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

    def hear_out(self) -> None:
        """Everything that the site was told is known afterwards; nobody may tell it any more."""
        self._site.close()

    def _told(self, at: float, body: bytes) -> None:
        if told := telling_of(at, body):
            self._by_task[told.update.task_id].tellings.append(told)

    @property
    def open(self) -> list[Run]:
        """Whose end was not told yet."""
        return [run for run in self.runs.values() if not run.tellings]

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
