"""The protocol of leases and ends, under every order of events that Hypothesis thinks of.

Whatever happens to workers, connections and the broker: a run is in exactly one place until its end was told, is worked
by one worker at a time, three times at most, and is told one end; two only where a worker, or its connection to the run
queue, was lost between the broker's taking the terminal status and the acknowledgement, for longer than the lease.
"""

from __future__ import annotations

import shutil

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.model_broker import Commit
from tests.support.model_worker import BESIDE, SLOTS, TTL, Fate
from tests.support.model_world import NAMES, World, body_of, chosen, task_of

WORKERS = st.sampled_from(NAMES)
NTH = st.integers(0, 5)
MOST_RUNS = 4
QUIET = 50 * TTL


class Protocol(World, RuleBasedStateMachine):
    @initialize()
    def set_up(self) -> None:
        self.begin()

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

    @rule(seconds=st.sampled_from([TTL / 16, TTL / 4, TTL / 2, TTL]))
    def some_time_passes(self, seconds: float) -> None:
        self.time_passes(seconds)

    @precondition(lambda self: self.ending())
    @rule(nth=NTH)
    def some_containers_end(self, nth: int) -> None:
        worker, place = chosen(self.ending(), nth)
        self.workers[worker].end_containers(place)
        self.run_link(worker)

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

    @precondition(lambda self: self.names(alive=True, connected=True))
    @rule(nth=NTH)
    def some_connection_is_lost(self, nth: int) -> None:
        self.a_connection_is_lost(chosen(self.names(alive=True, connected=True), nth))

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

    @rule()
    def the_broker_restarts(self) -> None:
        for name in self.names(alive=True):
            self.a_connection_is_lost(name)

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
            assert len(ours) <= SLOTS + BESIDE, f"{name} works {len(ours)} runs"
            begun = [held for held in ours if not (held.computed or held.delivery.resumed)]
            assert len(begun) <= SLOTS, f"{name} computes {len(begun)} runs"

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
