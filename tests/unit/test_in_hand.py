import threading
from collections.abc import Callable

import pytest

from tests.support.deliveries import delivery, held
from worker.broker.delivery import ATTEMPTS_HEADER, Delivery
from worker.run_control import InterruptedRunError, Interruption
from worker.runs.in_hand import Arrival, InHand


def still_held(_delivery: Delivery) -> bool:
    return True


def let_go(_delivery: Delivery) -> bool:
    return False


def test_a_first_delivery_is_new() -> None:
    hand = InHand(still_held)
    assert hand.arrive(held("a", delivery("1")))[0] is Arrival.NEW
    assert len(hand) == 1
    assert [run.message_id for run in hand.runs()] == ["a"]


def test_after_a_lost_hold_work_takes_the_second_delivery_as_its_own() -> None:
    hand, mine = InHand(let_go), held("a", delivery("1"))
    hand.arrive(mine)
    assert hand.arrive(held("a", delivery("2", redelivered=True)))[0] is Arrival.ADOPTED
    settled = hand.leave(mine, ended=True)
    assert settled
    assert settled.hold == "2"


def test_the_same_message_twice_is_a_duplicate_while_the_first_is_held() -> None:
    hand, mine = InHand(still_held), held("a", delivery("1"))
    hand.arrive(mine)
    assert hand.arrive(held("a", delivery("2")))[0] is Arrival.DUPLICATE
    settled = hand.leave(mine, ended=True)
    assert settled
    assert settled.hold == "1"


@pytest.mark.parametrize("again", [
    delivery("2", redelivered=True), delivery("2", resumed=True), delivery("2", headers={"x-death": []}),
], ids=["redelivered", "resumed", "dead-lettered"])  # fmt: skip
def test_what_ended_here_is_not_worked_again_when_it_comes_back(again: Delivery) -> None:
    hand, mine = InHand(still_held), held("a", delivery("1"))
    hand.arrive(mine)
    hand.leave(mine, ended=True)
    assert hand.arrive(held("a", again))[0] is Arrival.DUPLICATE
    assert len(hand) == 0


def test_what_was_given_back_is_worked_again() -> None:
    hand, mine = InHand(still_held), held("a", delivery("1"))
    hand.arrive(mine)
    hand.leave(mine, ended=False)
    assert hand.arrive(held("a", delivery("2", redelivered=True)))[0] is Arrival.NEW


def test_what_somebody_published_anew_is_worked_again() -> None:
    hand, mine = InHand(still_held), held("a", delivery("1"))
    hand.arrive(mine)
    hand.leave(mine, ended=True)
    assert hand.arrive(held("a", delivery("2")))[0] is Arrival.NEW


def test_lost_work_is_interrupted_and_settles_nothing() -> None:
    hand, mine = InHand(still_held), held("a", delivery("1"))
    hand.arrive(mine)
    hand.lose(mine.delivery)
    with pytest.raises(InterruptedRunError):
        mine.control.check()
    assert mine.control.reason is Interruption.LOST
    assert len(hand) == 1
    assert hand.leave(mine, ended=False) is None
    assert len(hand) == 0


def test_a_lost_run_that_comes_back_is_worked_when_the_lost_work_has_ended() -> None:
    hand, mine, again = InHand(still_held), held("a", delivery("1")), held("a", delivery("2"))
    hand.arrive(mine)
    hand.lose(mine.delivery)
    assert hand.arrive(again)[0] is Arrival.NEW
    order: list[str] = []

    def work() -> None:
        hand.begin(again)
        order.append("begun")

    waiting = in_thread(work)
    order.append("left")
    hand.leave(mine, ended=False)
    waiting()
    assert order == ["left", "begun"]
    settled = hand.leave(again, ended=True)
    assert settled
    assert settled.hold == "2"


def test_a_lost_run_that_comes_back_and_is_lost_again_waits_for_the_first_and_not_for_itself() -> None:
    hand, mine, again = InHand(still_held), held("a", delivery("1")), held("a", delivery("2"))
    for one in (mine, again):
        hand.arrive(one)
        hand.lose(one.delivery)
    hand.begin(mine)
    assert hand.leave(mine, ended=False) is None
    hand.begin(again)
    assert hand.leave(again, ended=False) is None
    assert len(hand) == 0


def in_thread(work: Callable[[], object]) -> Callable[[], None]:
    thread = threading.Thread(target=work)
    thread.start()
    return thread.join


def test_losing_what_is_not_in_hand_is_nothing() -> None:
    InHand(still_held).lose(delivery("1"))


def test_waiting_for_nothing_to_be_in_work() -> None:
    hand = InHand(still_held)
    assert hand.wait_empty(0)
    hand.arrive(held("a", delivery("1")))
    assert not hand.wait_empty(0.01)


def test_nonsense_in_the_attempts_header_counts_as_none() -> None:
    counts = [delivery("1", headers={ATTEMPTS_HEADER: value}).failed_attempts for value in ("2", None, -3, 2)]
    assert counts == [0, 0, 0, 2]


def test_expired_leases_count_as_attempts_and_what_was_given_back_does_not() -> None:
    deaths = [
        {"count": 2, "reason": "expired", "queue": "compute-worker.lease.a1.120s"},
        {"count": 1, "reason": "expired", "queue": "compute-worker.lease.b2.60s"},
        {"count": 9, "reason": "rejected", "queue": "compute-worker.lease.a1.120s"},
        {"count": 9, "reason": "expired", "queue": "compute-worker.retry.15s"},
        {"count": "x", "reason": "expired", "queue": "compute-worker.lease.c3.120s"},
        "nonsense",
    ]
    assert delivery("1", headers={ATTEMPTS_HEADER: 1, "x-death": deaths}).failed_attempts == 4
    assert delivery("1", headers={"x-death": "nonsense"}).failed_attempts == 0
