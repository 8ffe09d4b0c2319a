"""What the protocol's model is about: workers, the broker, the site, and all that can happen to them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from pika.spec import BasicProperties

from protocol.codalab import RUN_TASK
from protocol.status import State, StatusUpdate
from tests.support.model_broker import Message, ModelBroker, Queue
from tests.support.model_worker import QUEUE, Fate, ModelWorker, models
from worker.runs.attempt import MAX_ATTEMPTS
from worker.runs.in_hand import Held

T = TypeVar("T")
NAMES = ("one", "two", "three")


class Told:
    """What the site knows of one run: each computed end, how often it was told, and who was the last to."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        self.by: dict[str, set[str]] = {}
        """The computed ends by who told them; a worker that has lost its disk is another."""
        self.unconfirmed = 0
        """How often an end was taken by the broker, and its confirm did not come."""
        self.teller: str | None = None
        self.excused = False
        """Whether the named window was met: two computed ends are possible then."""

    def add(self, worker: str, update: StatusUpdate) -> None:
        said = repr(update)
        self.ends[said] = self.ends.get(said, 0) + 1
        self.by.setdefault(worker, set()).add(said)
        self.teller = worker


class World:
    """Three workers, a broker, and what the site is told; each method is something that happens."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="model-")
        self.broker = ModelBroker()
        self.broker_models = models(self.broker)
        self.broker_models.__enter__()
        self.told: dict[int, Told] = {}
        self.workers: dict[str, ModelWorker] = {}

    def begin(self) -> None:
        self.broker.queues.clear()
        self.broker.queues[QUEUE] = Queue({})
        for name in NAMES:
            self.workers[name] = ModelWorker(name, self.broker, self.tell, Path(self.folder.name) / name)
            self.workers[name].link.connect(self.broker)
        self.publish_one()

    def time_passes(self, seconds: float) -> None:
        end = self.broker.now + seconds
        while self.broker.now < end:
            self.broker.now = min(end, self.next_moment())
            self.everything_due()

    def publish_one(self) -> None:
        task = len(self.told)
        self.told[task] = Told()
        properties = BasicProperties(content_type="application/json", content_encoding="utf-8", headers={})
        self.broker.publish(QUEUE, Message(body_of(task), properties))
        self.run_links()

    def a_run_ends(self, worker: str, place: int, fate: Fate, passing: bool) -> None:
        one = self.workers[worker]
        held = one.in_work()[place]
        failed, was_connected = self.broker.failed[held.delivery.body], one.link.connection is not None
        self.told[task_of(held)].unconfirmed += fate in {Fate.CONFIRM_LOST, Fate.DIES_UNCONFIRMED}
        one.end_run(place, fate, passing=passing)
        if one.computed:
            assert failed < MAX_ATTEMPTS, "attempted too often"
        if not one.alive or (was_connected and one.link.connection is None):
            self.note_loss(worker)

    def a_worker_is_killed(self, worker: str) -> None:
        self.workers[worker].die()
        self.note_loss(worker)

    def a_worker_begins(self, worker: str) -> None:
        one = self.workers[worker]
        if not one.alive:
            one.begin()
            one.link.connect(self.broker)

    def a_connection_is_lost(self, worker: str) -> None:
        self.workers[worker].link.lose()
        self.note_loss(worker)

    def a_connection_is_back(self, worker: str) -> None:
        one = self.workers[worker]
        if one.alive and one.link.connection is None:
            one.link.connect(self.broker)

    def ending(self) -> list[tuple[str, int]]:
        """Runs in work that do not wait for lost work on the same run: by worker, and by place among its own."""
        found = []
        for name, one in self.workers.items():
            tasks = [task_of(held) for held in one.in_work()]
            found += [(name, place) for place, task in enumerate(tasks) if task not in tasks[:place]]
        return found

    def names(self, *, alive: bool, connected: bool | None = None) -> list[str]:
        return [
            name
            for name, one in self.workers.items()
            if one.alive is alive and connected in {None, one.link.connection is not None}
        ]

    def tell(self, worker: str, update: StatusUpdate) -> None:
        told = self.told[int(update.task_id)]
        if update.state is State.RUNNING:
            assert not told.ends or told.excused, "running, after its end"
            return
        told.add(worker, update)

    def note_loss(self, worker: str) -> None:
        """The window: told by this worker, and not acknowledged."""
        for task, told in self.told.items():
            if told.teller == worker and self.broker.copies(body_of(task)):
                told.excused = True

    def next_moment(self) -> float:
        timers = [w.link.connection.next_timer() for w in self.workers.values() if w.alive and w.link.connection]
        losses = [w.watch.holding.ledger.inside.next_expiry() for w in self.workers.values() if w.alive]
        moments = [self.broker.next_expiry(), *timers, *losses]
        return min((moment for moment in moments if moment > self.broker.now), default=math.inf)

    def everything_due(self) -> None:
        for worker in self.living():
            worker.watch.look(self.broker.now)
        self.broker.expire()
        self.run_links()

    def living(self) -> Iterator[ModelWorker]:
        return (worker for worker in self.workers.values() if worker.alive)

    def run_links(self) -> None:
        for name in self.workers:
            self.run_link(name)

    def run_link(self, name: str) -> None:
        worker = self.workers[name]
        if worker.alive:
            connected = worker.link.connection is not None
            worker.link.run()
            if connected and worker.link.connection is None:
                self.note_loss(name)


def body_of(task: int) -> bytes:
    task_args = {"bundle_url": "https://store/run", "docker_image": "image", "secret": "s3cret", "predict": False}
    return json.dumps({"task": RUN_TASK, "id": f"message-{task}", "args": [task, task_args], "kwargs": {}}).encode()


def task_of(held: Held) -> int:
    return int(held.run.message_id.removeprefix("message-"))


def chosen(among: Sequence[T], nth: int) -> T:
    return among[nth % len(among)]


def holder(machine: World) -> str:
    return next(name for name, worker in machine.workers.items() if worker.in_work())
