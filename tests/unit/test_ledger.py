"""What is ours, what is missing, and what is lost, by a clock that the test moves."""

from __future__ import annotations

import math

from tests.support.deliveries import delivery
from worker.broker.delivery import Settlement
from worker.broker.ledger import Hold, Ledger


def leased(ledger: Ledger, name: str, tag: int | None, until: float) -> Hold:
    hold = Hold(delivery(name), tag, until)
    ledger.add(hold)
    return hold


def names(holds: list[Hold]) -> list[str]:
    return [hold.delivery.hold for hold in holds]


def test_a_lease_is_held_only_while_its_copy_is_in_our_hands() -> None:
    ledger = Ledger()
    hold = leased(ledger, "a", None, 10)
    assert not ledger.is_held(hold.delivery)
    assert ledger.fetched("a", 1, 0.0)
    assert ledger.is_held(hold.delivery)
    assert not ledger.fetched("a", 2, 0.0), "a second copy of the same lease"
    assert not ledger.fetched("b", 3, 0.0), "a lease of an earlier life"


def test_what_is_renewed_is_to_be_fetched_and_lasts_longer() -> None:
    ledger = Ledger()
    hold = leased(ledger, "a", 1, 10)
    assert ledger.to_renew() == [(1, hold)]
    ledger.renewed([hold], 20)
    assert ledger.missing() == [hold]
    ledger.fetched("a", 2, 0.0)
    assert ledger.expire(19.9) == []
    assert ledger.to_renew() == [(2, hold)]


def test_a_lost_channel_leaves_leases_missing_and_takes_the_rest() -> None:
    ledger = Ledger()
    hold = leased(ledger, "a", 1, 10)
    late = Hold(delivery("b"), 2)
    ledger.add(late)
    ledger.channel_lost()
    assert ledger.missing() == [hold]
    assert "b" not in ledger
    assert not ledger.settle(late.delivery, Settlement.ACK)


def test_a_missing_lease_is_lost_once_and_is_then_nobodys_concern() -> None:
    ledger = Ledger()
    hold = leased(ledger, "a", None, 10)
    assert ledger.next_expiry() == 10
    assert ledger.expire(9.9) == []
    assert names(ledger.expire(10)) == ["a"]
    assert ledger.expire(11) == []
    assert len(ledger) == 0
    assert not ledger.settle(hold.delivery, Settlement.ACK)
    assert ledger.next_expiry() == math.inf


def test_a_lease_that_could_not_be_renewed_is_lost_though_its_copy_is_here_and_the_copy_goes_back() -> None:
    ledger = Ledger()
    hold = leased(ledger, "a", 1, 10)
    assert names(ledger.expire(10)) == ["a"]
    assert not ledger.is_held(hold.delivery)
    assert ledger.to_renew() == []
    assert [(tag, one.settlement) for tag, one in ledger.to_settle()] == [(1, Settlement.GIVE_BACK)]
    assert ledger.expire(11) == []
    ledger.channel_lost()
    assert len(ledger) == 0


def test_while_the_broker_keeps_what_we_hold_only_what_is_missing_is_lost() -> None:
    ledger = Ledger()
    leased(ledger, "here", 1, 10)
    leased(ledger, "missing", None, 12)
    assert ledger.next_expiry(missing_only=True) == 12
    assert names(ledger.expire(12, missing_only=True)) == ["missing"]
    assert names(ledger.expire(12)) == ["here"]


def test_what_is_settled_while_missing_is_done_when_it_is_found() -> None:
    ledger = Ledger()
    hold = leased(ledger, "a", 1, 10)
    ledger.channel_lost()
    assert ledger.settle(hold.delivery, Settlement.ACK)
    assert ledger.to_settle() == []
    ledger.fetched("a", 5, 0.0)
    assert ledger.to_settle() == [(5, hold)]
    assert ledger.to_renew() == []
    ledger.settled(hold)
    assert len(ledger) == 0


def test_what_is_settled_and_never_found_is_given_up_in_silence() -> None:
    ledger = Ledger()
    hold = leased(ledger, "a", None, 10)
    ledger.settle(hold.delivery, Settlement.ACK)
    assert ledger.expire(10) == []
    assert len(ledger) == 0


def test_what_is_not_leased_is_held_until_its_channel_is_lost_and_never_expires() -> None:
    ledger = Ledger()
    late = Hold(delivery("a"), 1)
    ledger.add(late)
    assert ledger.is_held(late.delivery)
    assert ledger.to_renew() == []
    assert ledger.expire(1e9) == []
    assert ledger.missing() == []
