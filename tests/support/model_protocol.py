"""The protocol of leases and ends, under every order of events that Hypothesis thinks of.

Whatever happens to workers, connections and the broker: a run is in exactly one place until its end was told, is worked
by one worker at a time, three times at most, and is told one end; two only where a worker, or its connection to the run
queue, was lost between the broker's taking the terminal status and the acknowledgement, for longer than the lease.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pika.spec import BasicProperties

from protocol.codalab import RUN_TASK
from protocol.status import State, StatusUpdate
from tests.support.model_broker import Commit, Message, ModelBroker, Queue
from tests.support.model_worker import QUEUE, SLOTS, TTL, Fate, ModelWorker, models
from worker.attempt import MAX_ATTEMPTS
from worker.in_hand import Held

T = TypeVar("T")
NAMES = ("one", "two", "three")
WORKERS = st.sampled_from(NAMES)
NTH = st.integers(0, 5)
MOST_RUNS = 4
QUIET = 50 * TTL


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

    @precondition(lambda self: len(self.told) < MOST_RUNS)
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
            self.broker.now = min(end, self.next_moment())
            self.everything_due()

    @precondition(lambda self: self.ending())
    @rule(nth=NTH, fate=st.sampled_from(Fate), passing=st.booleans())
    def some_run_ends(self, nth: int, fate: Fate, passing: bool) -> None:
        worker, place = chosen(self.ending(), nth)
        self.a_run_ends(worker, place, fate, passing)

    @precondition(lambda self: self.ending())
    @rule(nth=NTH, fate=st.sampled_from([Fate.DIES_BEFORE, Fate.DIES_UNCONFIRMED, Fate.CONFIRMED]))
    def some_run_ends_with_its_worker_which_is_back_at_once(self, nth: int, fate: Fate) -> None:
        worker, place = chosen(self.ending(), nth)
        self.a_run_ends(worker, place, fate, False)
        self.a_worker_is_killed(worker)
        self.a_worker_begins(worker)

    @precondition(lambda self: self.ending())
    @rule(nth=NTH)
    def some_run_ends_while_its_worker_is_cut_off_for_longer_than_its_lease(self, nth: int) -> None:
        worker, place = chosen(self.ending(), nth)
        self.a_connection_is_lost(worker)
        self.a_run_ends(worker, place, Fate.CONFIRMED, False)
        self.time_passes(1.25 * TTL)

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

    def ending(self) -> list[tuple[str, int]]:
        """Runs in work that do not wait for lost work on the same run: by worker, and by place among its own."""
        found = []
        for name, one in self.workers.items():
            tasks = [task_of(held) for held in one.in_work()]
            found += [(name, place) for place, task in enumerate(tasks) if task not in tasks[:place]]
        return found

    @rule(worker=WORKERS)
    def a_link_wakes(self, worker: str) -> None:
        self.run_link(worker)

    # --- faults ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.names(alive=True))
    @rule(nth=NTH, with_its_disk=st.booleans())
    def some_worker_is_killed(self, nth: int, with_its_disk: bool) -> None:
        worker = chosen(self.names(alive=True), nth)
        self.a_worker_is_killed(worker)
        if with_its_disk:
            shutil.rmtree(self.workers[worker].disk)
            for told in self.told.values():
                told.by.pop(worker, None)

    def a_worker_is_killed(self, worker: str) -> None:
        self.workers[worker].die()
        self.note_loss(worker)

    @precondition(lambda self: self.ending())
    @rule(nth=NTH)
    def some_run_costs_a_host(self, nth: int) -> None:
        worker, _place = chosen(self.ending(), nth)
        self.a_worker_is_killed(worker)
        self.time_passes(1.25 * TTL)
        self.a_worker_begins(worker)

    @precondition(lambda self: self.names(alive=False))
    @rule(nth=NTH)
    def some_worker_begins(self, nth: int) -> None:
        self.a_worker_begins(chosen(self.names(alive=False), nth))

    def a_worker_begins(self, worker: str) -> None:
        one = self.workers[worker]
        if not one.alive:
            one.begin()
            one.link.connect(self.broker)

    @precondition(lambda self: self.names(alive=True, connected=True))
    @rule(nth=NTH)
    def some_connection_is_lost(self, nth: int) -> None:
        self.a_connection_is_lost(chosen(self.names(alive=True, connected=True), nth))

    def a_connection_is_lost(self, worker: str) -> None:
        self.workers[worker].link.lose()
        self.note_loss(worker)

    @precondition(lambda self: self.names(alive=True, connected=True))
    @rule(nth=NTH, commit=st.sampled_from([Commit.LOST, Commit.UNKNOWN]))
    def the_next_transaction_breaks(self, nth: int, commit: Commit) -> None:
        connection = self.workers[chosen(self.names(alive=True, connected=True), nth)].link.connection
        assert connection
        connection.next_commit = commit

    @precondition(lambda self: self.names(alive=True, connected=True))
    @rule(nth=NTH, commit=st.sampled_from([Commit.LOST, Commit.UNKNOWN]))
    def the_next_renewal_breaks(self, nth: int, commit: Commit) -> None:
        self.the_next_transaction_breaks(nth, commit)
        self.time_passes(TTL / 4)

    @precondition(lambda self: self.names(alive=True, connected=False))
    @rule(nth=NTH)
    def some_connection_is_back(self, nth: int) -> None:
        self.a_connection_is_back(chosen(self.names(alive=True, connected=False), nth))

    def a_connection_is_back(self, worker: str) -> None:
        one = self.workers[worker]
        if one.alive and one.link.connection is None:
            one.link.connect(self.broker)

    @rule()
    def the_broker_restarts(self) -> None:
        for name in self.names(alive=True):
            self.a_connection_is_lost(name)

    def names(self, *, alive: bool, connected: bool | None = None) -> list[str]:
        return [
            name
            for name, one in self.workers.items()
            if one.alive is alive and connected in {None, one.link.connection is not None}
        ]

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
    def a_confirmed_end_is_not_sent_again(self) -> None:
        for task, told in self.told.items():
            assert all(times <= 1 + told.unconfirmed for times in told.ends.values()), (
                f"run {task} was told {told.ends}"
            )

    @invariant()
    def a_worker_that_keeps_its_disk_tells_no_other_end(self) -> None:
        for task, told in self.told.items():
            for worker, ends in told.by.items():
                assert len(ends) == 1, f"run {task} was told {ends} by {worker} alone"

    @invariant()
    def nobody_takes_more_than_it_has_slots(self) -> None:
        for name, worker in self.workers.items():
            ours = [held for held in worker.in_work() if held.control.reason is None]
            assert len(ours) <= SLOTS, f"{name} works {len(ours)} runs"

    @invariant()
    def nobody_works_what_another_works(self) -> None:
        for task in self.told:
            working = [
                name
                for name, worker in self.workers.items()
                for held in worker.in_work()
                if task_of(held) == task and held.control.reason is None
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

    def come_to_rest(self) -> None:
        """No fault any more: every run comes to an end, and nothing is left."""
        end = self.broker.now + QUIET
        while self.broker.now < end and any(self.broker.copies(body_of(task)) for task in self.told):
            for name in NAMES:
                self.a_worker_begins(name)
                self.a_connection_is_back(name)
            for worker, place in self.ending()[:1]:
                self.a_run_ends(worker, place, Fate.CONFIRMED, False)
            self.time_passes(TTL / 8)
            self.one_end_is_told()
            self.a_run_is_in_one_place_until_its_end_is_told()
        assert all(told.ends for told in self.told.values()), "a run's end was never told"
        assert not any(self.broker.copies(body_of(task)) for task in self.told), "a message is left"


def body_of(task: int) -> bytes:
    task_args = {"bundle_url": "https://store/run", "docker_image": "image", "secret": "s3cret", "predict": False}
    return json.dumps({"task": RUN_TASK, "id": f"message-{task}", "args": [task, task_args], "kwargs": {}}).encode()


def task_of(held: Held) -> int:
    return int(held.run.message_id.removeprefix("message-"))


def chosen(among: Sequence[T], nth: int) -> T:
    return among[nth % len(among)]


def holder(machine: Protocol) -> str:
    return next(name for name, worker in machine.workers.items() if worker.in_work())
