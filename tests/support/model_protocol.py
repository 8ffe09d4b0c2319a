"""The protocol of leases and ends, under every order of events that Hypothesis thinks of.

Whatever happens to workers, connections and the broker: a run is in exactly one place until its end was told, is worked
by one worker at a time, three times at most, and is told one end; two only where a worker, or its connection to the run
queue, was lost between the broker's taking the terminal status and the acknowledgement, for longer than the lease.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pika.spec import BasicProperties

from protocol.codalab import RUN_TASK
from protocol.status import State, StatusUpdate
from tests.support.model_broker import Commit, Message, ModelBroker, Queue
from tests.support.model_worker import QUEUE, TTL, Fate, ModelWorker, models
from worker.attempt import MAX_ATTEMPTS

NAMES = ("one", "two", "three")
WORKERS = st.sampled_from(NAMES)
QUIET = 200 * TTL


class Told:
    """What the site knows of one run: each computed end, how often it was told, and who was the last to."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        self.teller: str | None = None
        self.excused = False
        """Whether the named window was met: two computed ends are possible then."""

    def add(self, worker: str, update: StatusUpdate) -> None:
        said = repr(update)
        self.ends[said] = self.ends.get(said, 0) + 1
        self.teller = worker


class Protocol(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(prefix="model-")
        self.broker = ModelBroker()
        self.broker_models = models(self.broker)
        self.broker_models.__enter__()
        self.told: dict[int, Told] = {}
        self.workers: dict[str, ModelWorker] = {}

    @initialize()
    def set_up(self) -> None:
        self.broker.queues.clear()
        self.broker.queues[QUEUE] = Queue({})
        for name in NAMES:
            self.workers[name] = ModelWorker(name, self.broker, self.tell, Path(self.folder.name) / name)
            self.workers[name].link.connect(self.broker)
        self.publish_one()

    def teardown(self) -> None:
        try:
            if self.workers:
                self.come_to_rest()
        finally:
            self.broker_models.close()
            self.folder.cleanup()

    # --- what happens in good order ----------------------------------------------------------------------------------

    @precondition(lambda self: len(self.told) < 4)
    @rule()
    def publish(self) -> None:
        self.publish_one()

    def publish_one(self) -> None:
        task = len(self.told)
        self.told[task] = Told()
        properties = BasicProperties(content_type="application/json", content_encoding="utf-8", headers={})
        self.broker.publish(QUEUE, Message(body_of(task), properties))
        self.run_links()

    @rule(seconds=st.sampled_from([TTL / 16, TTL / 4, TTL / 2, TTL]))
    def time_passes(self, seconds: float) -> None:
        end = self.broker.now + seconds
        while self.broker.now < end:
            self.broker.now = min(end, max(self.next_moment(), self.broker.now + 0.01))
            self.everything_due()

    @rule(worker=WORKERS, place=st.integers(0, 1), fate=st.sampled_from(Fate), passing=st.booleans())
    def a_run_ends(self, worker: str, place: int, fate: Fate, passing: bool) -> None:
        one = self.workers[worker]
        if place >= len(one.in_work()):
            return
        held = one.in_work()[place]
        if any(other.run.message_id == held.run.message_id for other in one.in_work()[:place]):
            return  # it waits for the end of lost work on the same run
        one.end_run(place, fate, passing=passing)
        assert not one.computed or held.run.attempt <= MAX_ATTEMPTS, "attempted too often"
        if not one.alive or one.link.connection is None:
            self.note_loss(worker)

    @rule(worker=WORKERS)
    def a_link_wakes(self, worker: str) -> None:
        self.run_link(worker)

    # --- faults ------------------------------------------------------------------------------------------------------

    @rule(worker=WORKERS)
    def a_worker_is_killed(self, worker: str) -> None:
        self.workers[worker].die()
        self.note_loss(worker)

    @rule(worker=WORKERS)
    def a_machine_is_lost_with_its_disk(self, worker: str) -> None:
        self.workers[worker].die()
        shutil.rmtree(self.workers[worker].disk, ignore_errors=True)
        self.note_loss(worker)

    @rule(worker=WORKERS)
    def a_worker_begins(self, worker: str) -> None:
        one = self.workers[worker]
        if not one.alive:
            one.begin()
            one.link.connect(self.broker)

    @rule(worker=WORKERS)
    def a_connection_is_lost(self, worker: str) -> None:
        if self.workers[worker].alive:
            self.workers[worker].link.lose()
            self.note_loss(worker)

    @rule(worker=WORKERS, commit=st.sampled_from([Commit.LOST, Commit.UNKNOWN]))
    def the_next_transaction_breaks(self, worker: str, commit: Commit) -> None:
        connection = self.workers[worker].link.connection
        if connection:
            connection.next_commit = commit

    @rule(worker=WORKERS)
    def a_connection_is_back(self, worker: str) -> None:
        one = self.workers[worker]
        if one.alive and one.link.connection is None:
            one.link.connect(self.broker)

    @rule()
    def the_broker_restarts(self) -> None:
        for name, one in self.workers.items():
            if one.alive:
                one.link.lose()
                self.note_loss(name)

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def a_run_is_in_one_place_until_its_end_is_told(self) -> None:
        for task, told in self.told.items():
            copies = self.broker.copies(body_of(task))
            assert copies <= 1, f"run {task} is there {copies} times"
            assert copies == 1 or told.ends, f"run {task} is lost"

    @invariant()
    def one_end_is_told(self) -> None:
        for task, told in self.told.items():
            assert len(told.ends) <= 1 or told.excused, f"run {task} was told {list(told.ends)}"

    @invariant()
    def nobody_works_what_another_works(self) -> None:
        for task in self.told:
            working = [
                name
                for name, worker in self.workers.items()
                for held in worker.in_work()
                if held.run.message_id == f"message-{task}" and held.control.reason is None
            ]
            assert len(working) <= 1, f"run {task} is worked by {working}"

    # --- the machinery -----------------------------------------------------------------------------------------------

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
        return min([self.broker.next_expiry(), *timers, *losses], default=math.inf)

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

    def come_to_rest(self) -> None:
        """No fault any more: every run comes to an end, and nothing is left."""
        end = self.broker.now + QUIET
        while self.broker.now < end and any(self.broker.copies(body_of(task)) for task in self.told):
            for name in NAMES:
                self.a_worker_begins(name)
                self.a_connection_is_back(name)
                self.a_run_ends(name, 0, Fate.CONFIRMED, False)
            self.time_passes(TTL / 8)
            self.one_end_is_told()
            self.a_run_is_in_one_place_until_its_end_is_told()
        assert all(told.ends for told in self.told.values()), "a run's end was never told"
        assert not any(self.broker.copies(body_of(task)) for task in self.told), "a message is left"


def body_of(task: int) -> bytes:
    task_args = {"bundle_url": "https://store/run", "docker_image": "image", "secret": "s3cret", "predict": False}
    return json.dumps({"task": RUN_TASK, "id": f"message-{task}", "args": [task, task_args], "kwargs": {}}).encode()


def holder(machine: Protocol) -> str:
    return next(name for name, worker in machine.workers.items() if worker.in_work())
