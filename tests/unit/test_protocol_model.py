"""The protocol of leases and ends: its window, and what is none. tests/integration/test_model.py draws other orders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.model_protocol import Protocol
from tests.support.model_worker import TTL, Fate
from tests.support.model_world import body_of, holder
from worker.run_control import Interruption


@pytest.fixture
def protocol() -> Iterator[Protocol]:
    machine = Protocol()
    machine.set_up()
    yield machine
    machine.teardown()


def test_the_window_a_worker_that_dies_before_its_journal_knows_and_is_back_in_time_says_it_again(
    protocol: Protocol,
) -> None:
    worker = holder(protocol)
    protocol.a_run_ends(worker, 0, Fate.DIES_UNCONFIRMED, False)
    protocol.a_worker_begins(worker)
    protocol.a_run_ends(worker, 0, Fate.CONFIRMED, False)
    assert list(protocol.told[0].ends.values()) == [2], "the same words twice"


def test_a_run_that_is_given_up_is_told_so_in_the_same_words_again(protocol: Protocol) -> None:
    for _ in range(3):
        worker = holder(protocol)
        protocol.a_worker_is_killed(worker)
        protocol.time_passes(2 * TTL)
        protocol.a_worker_begins(worker)
    worker = holder(protocol)
    protocol.a_run_ends(worker, 0, Fate.DIES_UNCONFIRMED, False)
    protocol.a_worker_begins(worker)
    protocol.a_run_ends(worker, 0, Fate.CONFIRMED, False)
    [(told, times)] = protocol.told[0].ends.items()
    assert times == 2
    assert "3 times" in str(told)


@pytest.mark.parametrize("fate", [Fate.DIES_UNCONFIRMED, Fate.CONFIRMED])
def test_the_window_a_worker_that_dies_before_it_has_acknowledged_and_is_not_back_in_time(
    protocol: Protocol, fate: Fate
) -> None:
    worker = holder(protocol)
    protocol.a_run_ends(worker, 0, fate, False)
    protocol.a_worker_is_killed(worker)
    protocol.time_passes(2 * TTL)
    assert holder(protocol) != worker
    protocol.a_run_ends(holder(protocol), 0, Fate.CONFIRMED, False)
    assert list(protocol.told[0].ends.values()) == [1, 1]


def test_the_window_a_worker_that_loses_the_run_queue_before_it_has_acknowledged_for_longer_than_its_lease(
    protocol: Protocol,
) -> None:
    worker = holder(protocol)
    protocol.a_run_ends(worker, 0, Fate.CUT_OFF, False)
    protocol.time_passes(2 * TTL)
    protocol.a_run_ends(holder(protocol), 0, Fate.CONFIRMED, False)
    assert list(protocol.told[0].ends.values()) == [1, 1]


def test_no_window_a_worker_that_cannot_reach_the_run_queue_tells_no_end_before_it_can(protocol: Protocol) -> None:
    worker = holder(protocol)
    protocol.a_connection_is_lost(worker)
    protocol.a_run_ends(worker, 0, Fate.CONFIRMED, False)
    assert not protocol.told[0].ends
    protocol.a_connection_is_back(worker)
    protocol.a_run_ends(worker, 0, Fate.CONFIRMED, False)
    assert list(protocol.told[0].ends.values()) == [1]


def test_no_window_a_worker_that_cannot_reach_the_run_queue_for_longer_than_its_lease_is_silent(
    protocol: Protocol,
) -> None:
    worker = holder(protocol)
    protocol.a_connection_is_lost(worker)
    protocol.a_run_ends(worker, 0, Fate.CONFIRMED, False)
    protocol.time_passes(2 * TTL)
    protocol.a_run_ends(worker, 0, Fate.CONFIRMED, False)
    assert not protocol.told[0].ends
    protocol.a_run_ends(holder(protocol), 0, Fate.CONFIRMED, False)
    assert list(protocol.told[0].ends.values()) == [1]


def test_no_window_a_worker_that_dies_when_its_journal_knows_and_is_back_in_time(protocol: Protocol) -> None:
    worker = holder(protocol)
    protocol.a_run_ends(worker, 0, Fate.CONFIRMED, False)
    protocol.a_worker_is_killed(worker)
    assert protocol.broker.copies(body_of(0)) == 1, "not acknowledged yet"
    protocol.a_worker_begins(worker)
    protocol.a_link_wakes(worker)
    assert protocol.broker.copies(body_of(0)) == 0
    assert list(protocol.told[0].ends.values()) == [1]


def test_who_cannot_renew_has_given_up_before_another_begins(protocol: Protocol) -> None:
    worker = holder(protocol)
    protocol.a_connection_is_lost(worker)
    protocol.time_passes(TTL)
    assert protocol.workers[worker].in_work()[0].control.reason is Interruption.LOST
    protocol.nobody_works_what_another_works()
    assert any(one.in_work() for name, one in protocol.workers.items() if name != worker)
