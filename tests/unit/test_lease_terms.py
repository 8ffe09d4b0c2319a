"""Names, times and copies, and that nothing of a message is changed but what must be."""

from __future__ import annotations

import pytest

from tests.support import captured
from tests.support.deliveries import delivery
from worker.broker.delivery import ATTEMPTS_HEADER, Delivery
from worker.broker.lease_terms import CLASSIC, LEASE_HEADER, QUORUM, LeaseTerms, lease_copy, retry_copy

TERMS = LeaseTerms("compute-worker", "abc", 120.0)


def test_a_lease_queue_is_its_workers_own_and_dead_letters_to_the_run_queue() -> None:
    form = TERMS.lease_queue
    assert form.name == "compute-worker.lease.abc.120s"
    assert form.arguments(QUORUM) == {
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "compute-worker",
        "x-message-ttl": 120_000,
        "x-expires": 7 * 86_400_000,
    }
    assert form.arguments(CLASSIC).keys() == {
        "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-message-ttl", "x-expires",
    }  # fmt: skip


def test_a_lease_is_renewed_often_and_is_counted_as_lost_before_the_broker_gives_it_away() -> None:
    assert TERMS.period == 30
    assert TERMS.trusted == 105


@pytest.mark.parametrize(("counted", "name"), [(0, "15s"), (1, "60s"), (2, "60s"), (-5, "15s")])
def test_pauses_grow_with_the_attempts(counted: int, name: str) -> None:
    failed = delivery("1", headers={ATTEMPTS_HEADER: counted})
    assert TERMS.retry_queue(failed).name == f"compute-worker.retry.{name}"


def test_without_leases_pauses_are_the_usual_ones() -> None:
    assert LeaseTerms("q", "abc", 0).retry_queue(delivery("1")).ttl == 15


@pytest.mark.parametrize("name", captured.names("run-*"))
def test_a_copy_of_every_captured_message_has_all_that_it_had(name: str) -> None:
    message = captured.load(name)
    taken = Delivery("hold", redelivered=False, body=message.body, headers=message.headers, properties=PROPERTIES)
    for copy, header, value in (
        (lease_copy(taken), LEASE_HEADER, "hold"),
        (retry_copy(taken), ATTEMPTS_HEADER, 1),
    ):
        assert copy == {**PROPERTIES, "headers": {**message.headers, header: value}}


PROPERTIES = {"content_type": "application/json", "delivery_mode": 2, "priority": 7, "correlation_id": "c"}


def test_what_would_harm_a_copy_is_left_out() -> None:
    """An expiration would cut the lease short, a user id be refused, and CC send it to other queues as well."""
    taken = delivery(
        "hold",
        headers={"CC": ["other"], "BCC": ["other"], LEASE_HEADER: "earlier", "kept": 1},
        properties={"expiration": "1000", "user_id": "site", "priority": 1},
    )
    assert lease_copy(taken) == {"priority": 1, "headers": {"kept": 1, LEASE_HEADER: "hold"}}
    assert retry_copy(taken) == {"priority": 1, "headers": {"kept": 1, ATTEMPTS_HEADER: 1}}
