"""A worker whose every decision is the worker's own code, on a model of all that it talks to, in one thread.

Real are Consumer, Holding, Ledger, RunChannel, LeaseTerms, InHand, Handler, make_attempt, the pipeline's order,
Reporter and the journals. Models are the broker, the clock, the threads of the link and of the watch (which run when
the model says so), those of the slots (a run is worked from its arrival until the model ends it), the stages, the site.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from enum import Enum, auto
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from structlog.testing import capture_logs

from config.settings import Settings
from protocol.faults import PassingFault
from protocol.status import StatusUpdate
from sandbox.slots import Share, Slots
from tests.support.model_broker import ModelBroker
from tests.support.model_threads import ModelCondition, ModelLink, ModelPool, ModelWatch, StillWaitingError
from worker.broker.consumer import Consumer
from worker.broker.lease_terms import LeaseTerms
from worker.broker.updates import WithdrawnError
from worker.host_usage import HostUsage
from worker.kept.journal import Journals
from worker.kept.records import PublishedRun
from worker.observers import Stage
from worker.runs.handling import Handler
from worker.runs.in_hand import Held
from worker.tools import Tools

QUEUE = "runs"
TTL = 16.0
SLOTS = BESIDE = 2
TERMINAL = {"finished", "failed"}


class MachineLostError(BaseException):
    """The process is no more; nothing of the worker's catches this, as nothing catches kill -9."""


class Fate(Enum):
    """What happens while a terminal status is told."""

    CONFIRMED = auto()
    CONFIRM_LOST = auto()
    """The broker has it, its confirm is lost with the connection, and the sink sends it again."""
    DIES_BEFORE = auto()
    """The worker dies before the broker has it."""
    DIES_UNCONFIRMED = auto()
    """The worker dies when the broker has it, before its journal knows."""
    CUT_OFF = auto()
    """The connection to the run queue is lost when the broker has it."""


class ModelFolders:
    """In place of the temp dir: names only."""

    def has_run(self, folder: str) -> bool:
        return bool(folder)

    def remove_run(self, _folder: str) -> None:
        """Nothing is there."""

    @contextmanager
    def run_folder(self, _name: str, **_: object) -> Iterator[object]:
        yield None


class ModelWorker:
    """One identity with its disk; `begin` starts a process of it and `die` ends it as kill -9 does."""

    def __init__(self, name: str, broker: ModelBroker, tell: Callable[[str, StatusUpdate], None], disk: Path) -> None:
        self.name = name
        self.broker = broker
        self.disk = disk
        self._tell = tell
        self.fate = Fate.CONFIRMED
        self.passing = False
        self.computed = False
        """Whether the stages were worked in the last run that ended, and not only its end told."""
        self.alive = False
        self.begin()

    def begin(self) -> None:
        self.disk.mkdir(exist_ok=True)
        self.alive = True
        tools = SimpleNamespace(
            settings=_SETTINGS,
            updates=self,
            temp_dir=ModelFolders(),
            slots=Slots([Share()] * SLOTS),
            images=SimpleNamespace(release=lambda _run: None),
            journals=Journals(self.disk),
            sandbox=None,
        )
        terms = LeaseTerms(QUEUE, self.name, TTL)
        self.consumer = Consumer(cast("Any", None), terms, slots=SLOTS, beside=BESIDE, on_refused=_refused)
        recovery: Any = SimpleNamespace(claim=lambda _name: None, computing=0)
        self.handler = Handler(cast("Tools", tools), self.consumer, beside=BESIDE, on_idle=_nothing, recovery=recovery)
        self.link = cast("ModelLink", self.consumer._link)
        self.watch = cast("ModelWatch", self.consumer._watch)
        self.pool = cast("ModelPool", self.handler._pool)
        cast("ModelCondition", self.watch.holding.ledger.changed).meanwhile = self.link.run
        self.consumer.start(self.handler)

    def die(self) -> None:
        if self.alive:
            self.alive = False
            if self.link.connection:
                self.link.connection.drop()

    def in_work(self) -> list[Held]:
        """What its slots work, those that are lost included."""
        return [args[-1] for _work, args in self.pool.begun] if self.alive else []

    def end_containers(self, place: int) -> None:
        """From now on that run takes no slot: its results are stored."""
        self.handler._on_stage(self.in_work()[place], Stage.PUBLISHING)

    def end_run(self, place: int, fate: Fate, *, passing: bool = False) -> None:
        """The slot does the rest of that run; nothing of an earlier one of the same message may be left.

        Where it has to wait before it tells, its journal has the end, and another call goes on from there.
        """
        work, args = self.pool.begun.pop(place)
        self.fate, self.passing, self.computed = fate, passing, False
        with _in_place_of_stages(self._course):
            try:
                work(*args)
            except MachineLostError:
                self.die()
            except StillWaitingError:
                self.pool.begun.insert(place, (work, args))

    def send(self, update: StatusUpdate, provided: Callable[[], bool]) -> Future[None]:
        """The update sink."""
        future: Future[None] = Future()
        if not provided():
            future.set_exception(WithdrawnError())
            return future
        if update.state in TERMINAL:
            self._send_terminal(update)
        else:
            self._tell(self.name, update)
        future.set_result(None)
        return future

    def _send_terminal(self, update: StatusUpdate) -> None:
        if self.fate is Fate.DIES_BEFORE:
            raise MachineLostError
        self._tell(self.name, update)
        if self.fate is Fate.CONFIRM_LOST:
            self._tell(self.name, update)
        if self.fate is Fate.DIES_UNCONFIRMED:
            raise MachineLostError
        if self.fate is Fate.CUT_OFF:
            self.link.lose()

    def _course(self, *_: object, last: bool, **__: object) -> PublishedRun:
        self.computed = True
        if self.passing and not last:
            raise PassingFault("The platform is tired.")
        return PublishedRun(None)


_SETTINGS = Settings()


def _nothing() -> None:
    """Of no interest."""


def _refused(reason: str) -> None:
    raise AssertionError(reason)


@contextmanager
def _in_place_of_stages(course: Callable[..., PublishedRun]) -> Iterator[None]:
    with patch("worker.runs.pipeline.take_course", course):
        yield


def models(broker: ModelBroker) -> ExitStack:
    """While it is open, what the worker's code makes is made of the models."""
    stack = ExitStack()
    stack.enter_context(capture_logs())
    clock = SimpleNamespace(monotonic=lambda: broker.now)
    numbers = itertools.count()
    for name, model in {
        "worker.broker.consumer.AmqpLink": ModelLink,
        "worker.broker.consumer.LeaseWatch": ModelWatch,
        "worker.broker.consumer.ensure_queue": lambda *_: None,
        "worker.broker.claim.time": clock,
        "worker.broker.holding.time": clock,
        "worker.broker.shared_ledger.threading": SimpleNamespace(Condition=ModelCondition),
        "worker.runs.handling.ThreadPoolExecutor": ModelPool,
        "worker.kept.journal.write_whole": lambda path, data, **_: path.write_bytes(data),
        "worker.runs.pipeline.admit": lambda *_: None,
        "worker.runs.pipeline.stderr_tail": lambda _folder: "",
        "worker.runs.reporting.host_usage": lambda: HostUsage(str(next(numbers)), "", 0.0),  # so no two ends are alike
    }.items():
        stack.enter_context(patch(name, model))
    return stack
