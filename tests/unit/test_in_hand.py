from worker.broker.delivery import ATTEMPTS_HEADER, Delivery
from worker.in_hand import Arrival, InHand
from worker.tools import RunControl


def delivery(tag: int, epoch: int = 1, *, redelivered: bool = False) -> Delivery:
    return Delivery(tag, epoch, redelivered, b"")


def test_a_first_delivery_is_new() -> None:
    hand = InHand()
    assert hand.arrive("a", delivery(1), RunControl()) is Arrival.NEW
    assert len(hand) == 1


def test_after_a_lost_channel_work_takes_the_second_delivery_as_its_own() -> None:
    hand = InHand()
    hand.arrive("a", delivery(1), RunControl())
    assert hand.arrive("a", delivery(1, epoch=2, redelivered=True), RunControl()) is Arrival.ADOPTED
    assert hand.leave("a", ended=True).epoch == 2


def test_the_same_message_twice_on_one_channel_is_a_duplicate() -> None:
    hand = InHand()
    hand.arrive("a", delivery(1), RunControl())
    assert hand.arrive("a", delivery(2), RunControl()) is Arrival.DUPLICATE
    assert hand.leave("a", ended=True).tag == 1


def test_what_ended_here_is_not_worked_again_when_it_is_redelivered() -> None:
    hand = InHand()
    hand.arrive("a", delivery(1), RunControl())
    hand.leave("a", ended=True)
    assert hand.arrive("a", delivery(2, redelivered=True), RunControl()) is Arrival.DUPLICATE
    assert len(hand) == 0


def test_what_was_given_back_is_worked_again() -> None:
    hand = InHand()
    hand.arrive("a", delivery(1), RunControl())
    hand.leave("a", ended=False)
    assert hand.arrive("a", delivery(2, redelivered=True), RunControl()) is Arrival.NEW


def test_what_somebody_published_anew_is_worked_again() -> None:
    hand = InHand()
    hand.arrive("a", delivery(1), RunControl())
    hand.leave("a", ended=True)
    assert hand.arrive("a", delivery(2, redelivered=False), RunControl()) is Arrival.NEW


def test_memory_of_ended_runs_is_bounded() -> None:
    hand = InHand()
    for number in range(1001):
        hand.arrive(str(number), delivery(number), RunControl())
        hand.leave(str(number), ended=True)
    assert hand.arrive("0", delivery(1, redelivered=True), RunControl()) is Arrival.NEW
    assert hand.arrive("1000", delivery(1, redelivered=True), RunControl()) is Arrival.DUPLICATE


def test_waiting_for_nothing_to_be_in_work() -> None:
    hand = InHand()
    assert hand.wait_empty(0)
    hand.arrive("a", delivery(1), RunControl())
    assert not hand.wait_empty(0.01)


def test_nonsense_in_the_attempts_header_counts_as_none() -> None:
    counts = [Delivery(1, 1, False, b"", {ATTEMPTS_HEADER: value}).failed_attempts for value in ("2", None, -3, 2)]
    assert counts == [0, 0, 0, 2]
