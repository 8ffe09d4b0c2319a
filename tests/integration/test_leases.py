"""Leases on a real broker: nothing is lost and nothing is there twice, whatever the broker or the connection does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.consumers import Bench, number, wait_until_settled
from tests.support.fault_proxy import FaultProxy
from tests.support.own_broker import CONSUMER_TIMEOUT, OwnBroker, own_broker
from tests.support.waiting import PATIENCE, wait_until
from worker.broker.delivery import ATTEMPTS_HEADER, Settlement
from worker.broker.lease_terms import LEASE_HEADER

pytestmark = pytest.mark.integration

# A machine that is stalled for two seconds renews late, and must lose nothing: a lease of five seconds counts for 4.4,
# and is renewed every 1.25.
SHORT = 5.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(tmp_path_factory.mktemp("rabbit") / "node") as broker:
        yield broker


@pytest.fixture
def bench(broker: OwnBroker) -> Bench:
    return Bench(broker.url)


def test_a_lease_outlasts_the_consumer_timeout(broker: OwnBroker, bench: Bench) -> None:
    other = Bench(broker.url)
    with broker.impatient(), bench.consumer(SHORT) as (consumer, taker), other.consumer(0) as (_, without):
        bench.publish([1])
        other.publish([1])
        (delivery,) = taker.take(1)
        first, again = without.take(2)
        assert (first.redelivered, again.redelivered) == (False, True), "the broker would lose patience"
        assert taker.takes_nothing_for(max(2 * CONSUMER_TIMEOUT, SHORT))
        assert taker.gone.empty()
        assert consumer.claim(lambda: delivery).wait(lambda: not taker.gone.empty())
        consumer.settle(delivery, Settlement.ACK)
        bench.publish([2])
        (second,) = taker.take(1)
        assert number(second) == 2
        consumer.settle(second, Settlement.ACK)
    assert nothing_is_left(bench, SHORT)


def test_a_run_that_could_not_begin_at_once_stays_where_another_worker_finds_it(bench: Bench) -> None:
    with bench.consumer(120.0, slots=3) as (busy, taker):
        taker.room = 1
        bench.publish([1])
        taker.take(1)
        bench.publish([2])
        with bench.consumer(120.0, worker_id="idle") as (_, idle):
            assert [number(one) for one in idle.take(1)] == [2]
            bench.publish([3])
            taker.room = 1
            busy.look_again()
            assert [number(one) for one in taker.take(1)] == [3]


def test_a_clean_restart_of_the_broker_loses_none_of_200_leases(broker: OwnBroker, bench: Bench) -> None:
    bench.publish(range(200))
    with bench.consumer(120.0, slots=200) as (consumer, taker):
        held = taker.take(200)
        with broker.stopped():
            pass
        assert taker.takes_nothing_for(1.0)
        for one in held:
            consumer.settle(one, Settlement.ACK)
        bench.publish([200])
        (last,) = taker.take(1)
        consumer.settle(last, Settlement.ACK)
        wait_until_settled(consumer)
    assert {number(one) for one in [*held, last]} == set(range(201))
    assert nothing_is_left(bench, 120.0)


def test_a_restart_that_outlasts_the_leases_gives_each_run_back(broker: OwnBroker, bench: Bench) -> None:
    bench.publish(range(100))
    with bench.consumer(10.0, slots=100) as (consumer, taker):
        held = taker.take(100)
        with broker.stopped():
            lost = [taker.gone.get(timeout=PATIENCE) for _ in range(100)]
        assert {one.hold for one in lost} == {one.hold for one in held}
        again = []
        for _ in range(100):
            again += taker.take(1)
            consumer.settle(again[-1], Settlement.ACK)
        assert {number(one) for one in again} == set(range(100))
        assert {one.failed_attempts for one in again} == {1}
        wait_until_settled(consumer)
    assert nothing_is_left(bench, 10.0)


def test_intake_is_closed_while_no_slot_is_free(bench: Bench) -> None:
    bench.publish(range(4))
    with bench.consumer(60.0, slots=2) as (consumer, taker):
        one, two = taker.take(2)
        assert taker.takes_nothing_for(0.2)
        assert bench.ready() == 2
        consumer.settle(two, Settlement.ACK)
        (three,) = taker.take(1)
        assert [number(one), number(two), number(three)] == [0, 1, 2]
        assert bench.ready() == 1


def test_what_is_given_back_is_in_the_queue_at_once_as_it_was(bench: Bench) -> None:
    kept = {"priority": 7, "correlation_id": "c", "reply_to": "r", "content_type": "application/json", "type": "t"}
    headers = {"task": "compute_worker_run", "timelimit": [None, 4200], "stamps": {}}
    bench.publish([1], headers=headers, **kept)
    with bench.consumer(60.0) as (consumer, taker):
        (delivery,) = taker.take(1)
        consumer.stop_taking()
        consumer.settle(delivery, Settlement.GIVE_BACK)
        properties, body = bench.next(timeout=20.0)
    assert body == b"1"
    assert {name: getattr(properties, name) for name in kept} == kept
    found: dict[str, Any] = dict(properties.headers or {})
    assert {name: found[name] for name in headers} == headers
    assert [death["reason"] for death in found["x-death"]] == ["rejected"]
    assert found.keys() - headers.keys() == {
        LEASE_HEADER, "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
    }  # fmt: skip


def test_a_retry_waits_and_counts(bench: Bench) -> None:
    bench.publish([1])
    with bench.consumer(SHORT) as (consumer, taker):
        for attempt, pause in enumerate((SHORT / 8, SHORT / 2)):
            (delivery,) = taker.take(1)
            assert delivery.failed_attempts == attempt
            bench.publish([9])
            began = time.monotonic()
            consumer.settle(delivery, Settlement.RETRY)
            (meanwhile,) = taker.take(1)  # no slot is held by what waits
            assert number(meanwhile) == 9
            consumer.settle(meanwhile, Settlement.ACK)
            (delivery,) = taker.take(1)
            assert time.monotonic() - began >= pause
            assert delivery.headers[ATTEMPTS_HEADER] == attempt + 1
            consumer.settle(delivery, Settlement.GIVE_BACK)


def test_a_dead_workers_lease_goes_to_another_within_the_ttl(bench: Bench) -> None:
    bench.publish([1])
    with FaultProxy(bench.url) as proxy, bench.consumer(SHORT, url=proxy.url) as (_, dead):
        dead.take(1)
        with bench.consumer(60.0, worker_id="two") as (_, other):
            began = time.monotonic()
            proxy.cut()
            (delivery,) = other.take(1)
            assert time.monotonic() - began < SHORT + 8.0, "no broker would notice that later"
            assert delivery.failed_attempts == 1
            dead.gone.get(timeout=PATIENCE)


def test_a_lease_is_lost_to_us_before_another_can_have_it(bench: Bench) -> None:
    bench.publish([1])
    with FaultProxy(bench.url, heartbeat=1) as proxy, bench.consumer(SHORT, url=proxy.url) as (consumer, frozen):
        (mine,) = frozen.take(1)
        with bench.consumer(60.0, worker_id="two") as (_, other):
            proxy.black_hole()
            (lease,) = consumer._holding.ledger.leases()
            lost = frozen.gone.get(timeout=PATIENCE)
            assert lost.hold == mine.hold
            assert frozen.when[mine.hold] < lease.ends + 3.0, "told as soon as this process is not stalled"
            (theirs,) = other.take(1)
            assert other.when[theirs.hold] > lease.ends
            proxy.let_through()
            assert frozen.takes_nothing_for(1.0)


def test_a_blip_resumes_the_lease(bench: Bench) -> None:
    bench.publish([1])
    with FaultProxy(bench.url) as proxy, bench.consumer(60.0, url=proxy.url) as (consumer, taker):
        (delivery,) = taker.take(1)
        proxy.reset()
        bench.publish([2])
        assert taker.takes_nothing_for(1.5)
        consumer.settle(delivery, Settlement.ACK)
        (second,) = taker.take(1)
        assert number(second) == 2
        consumer.settle(second, Settlement.ACK)
    assert nothing_is_left(bench, 60.0)


def test_what_was_settled_while_the_broker_was_away_is_settled_when_it_is_back(bench: Bench) -> None:
    bench.publish([1])
    with FaultProxy(bench.url) as proxy, bench.consumer(60.0, url=proxy.url) as (consumer, taker):
        (delivery,) = taker.take(1)
        proxy.cut()
        consumer.settle(delivery, Settlement.ACK)
        bench.publish([2])
        proxy.let_through()
        (second,) = taker.take(1)
        assert number(second) == 2
        consumer.settle(second, Settlement.ACK)
    assert nothing_is_left(bench, 60.0)


def test_the_next_life_of_a_worker_finds_what_the_last_one_held(bench: Bench) -> None:
    bench.publish(range(3))
    with bench.consumer(60.0, slots=2) as (_, taker):
        held = {number(one) for one in taker.take(2)}
    bench.wait_until_ready(2, bench.terms(60.0).lease_queue.name)
    with bench.consumer(60.0, slots=1) as (consumer, taker):  # one slot less: the other goes back
        (resumed,) = taker.take(1)
        assert resumed.resumed
        assert number(resumed) in held
        bench.wait_until_ready(2)
        consumer.settle(resumed, Settlement.ACK)
        (third,) = taker.take(1)
        assert not third.resumed


def test_a_deleted_lease_queue_is_made_again_with_what_was_in_it(bench: Bench) -> None:
    bench.publish(range(2))
    with bench.consumer(6.0, slots=2) as (consumer, taker):
        deliveries = taker.take(2)
        lease_queue = bench.terms(6.0).lease_queue.name
        with bench.channel() as channel:
            channel.queue_delete(lease_queue)
        wait_until(lambda: bench.exists(lease_queue))
        assert taker.takes_nothing_for(0.5)
        assert taker.gone.empty()
        consumer.stop_taking()
        for one in deliveries:
            consumer.settle(one, Settlement.GIVE_BACK)
        assert {bench.next()[1], bench.next()[1]} == {b"0", b"1"}


def test_what_is_given_back_outlives_the_lease_queue(bench: Bench) -> None:
    bench.publish(range(2))
    with bench.consumer(120.0, slots=2) as (consumer, taker):
        one, two = taker.take(2)
        consumer.claim(lambda: two).wait(lambda: not taker.gone.empty())
        consumer.stop_taking()
        with bench.channel() as channel:
            channel.queue_delete(bench.terms(120.0).lease_queue.name)
        consumer.settle(one, Settlement.GIVE_BACK)
        assert bench.next()[1] == b"0"
        assert consumer.claim(lambda: two).wait(lambda: not taker.gone.empty())
        consumer.settle(two, Settlement.GIVE_BACK)
        assert bench.next()[1] == b"1"


def test_a_broker_short_of_memory_keeps_our_leases(broker: OwnBroker, bench: Bench) -> None:
    bench.publish([1])
    with bench.consumer(SHORT) as (consumer, taker):
        (delivery,) = taker.take(1)
        with broker.short_of_memory():
            assert taker.takes_nothing_for(6.0)
            assert taker.gone.empty()
        consumer.settle(delivery, Settlement.ACK)
        bench.publish([2])
        (second,) = taker.take(1)
        assert number(second) == 2
        consumer.settle(second, Settlement.ACK)
    assert nothing_is_left(bench, SHORT)


def nothing_is_left(bench: Bench, ttl: float) -> bool:
    """To be asked when every consumer is closed: what was held would be in one of them by now."""
    lease_queue = bench.terms(ttl).lease_queue.name
    return bench.ready() == 0 and not (bench.exists(lease_queue) and bench.ready(lease_queue))
