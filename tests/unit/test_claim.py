"""Our claim on a run: sure by the broker's own word alone, and given up only where it cannot be had."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.support.deliveries import delivery
from worker.broker.claim import Claim
from worker.broker.delivery import Settlement
from worker.broker.ledger import Hold
from worker.broker.shared_ledger import SharedLedger
from worker.run_control import InterruptedRunError, Interruption, RunControl

SURE, UNSURE = 1e9, -1.0  # later and earlier than any clock's now


class Scene:
    """A ledger with one lease in hand; `answer` is what the broker does when it is asked."""

    def __init__(self) -> None:
        self.ledger = SharedLedger()
        self.delivery = replace(delivery("a"), leased=True)
        self.ledger.add(Hold(self.delivery, 1, SURE))
        self._asked = threading.Event()
        self.answer: Callable[[], None] = lambda: None

    def claim(self) -> Claim:
        return Claim(self.ledger, lambda: self.delivery, self._ask, lasts=1.0)

    @contextmanager
    def when_asked(self, happens: Callable[[], object]) -> Iterator[None]:
        """Another thread has that happen once somebody waits."""

        def other() -> None:
            self._asked.wait()
            happens()

        thread = threading.Thread(target=other)
        thread.start()
        yield
        thread.join()

    def _ask(self) -> None:
        self._asked.set()
        self.answer()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def never() -> bool:
    return False


def test_what_is_in_our_hands_is_not_sure_before_the_broker_has_said_so(scene: Scene) -> None:
    assert not scene.claim().is_sure
    scene.answer = lambda: scene.ledger.vouched(SURE)
    assert scene.claim().wait(never)
    assert scene.claim().is_sure


def test_the_brokers_word_does_not_last(scene: Scene) -> None:
    scene.ledger.vouched(UNSURE)
    assert not scene.claim().is_sure


def test_what_is_missing_is_waited_for_until_it_is_in_our_hands_again(scene: Scene) -> None:
    scene.ledger.channel_lost()
    with scene.when_asked(lambda: scene.ledger.fetched("a", 2, SURE)):
        assert scene.claim().wait(never)


def test_what_is_missing_can_be_given_up(scene: Scene) -> None:
    scene.ledger.channel_lost()
    assert not scene.claim().wait(lambda: True)


def test_what_is_in_our_hands_is_not_given_up_before_the_broker_has_answered(scene: Scene) -> None:
    scene.answer = lambda: scene.ledger.vouched(SURE)
    assert scene.claim().wait(lambda: True)


def test_the_delivery_that_takes_the_place_of_a_missing_one_is_waited_for(scene: Scene) -> None:
    scene.ledger.channel_lost()

    def adopt() -> None:
        former, scene.delivery = scene.delivery, replace(delivery("b"), leased=True)
        scene.ledger.add(Hold(scene.delivery, None, SURE))
        scene.ledger.fetched("b", 3, SURE)
        scene.ledger.note(former, Settlement.ACK)

    with scene.when_asked(adopt):
        assert scene.claim().wait(never)


def test_what_is_not_leased_is_not_asked_for(scene: Scene) -> None:
    scene.delivery = delivery("c")
    assert scene.claim().is_sure
    assert scene.claim().wait(never)


@pytest.mark.parametrize("reason", [Interruption.LOST, Interruption.GIVEN_BACK])
def test_a_run_that_is_lost_or_given_back_waits_no_longer(scene: Scene, reason: Interruption) -> None:
    scene.ledger.channel_lost()
    control = RunControl(scene.claim())
    with scene.when_asked(lambda: control.interrupt(reason)), pytest.raises(InterruptedRunError):
        control.wait_until_ours()


def test_a_run_that_is_cancelled_waits_to_be_told_so(scene: Scene) -> None:
    scene.ledger.channel_lost()
    control = RunControl(scene.claim())
    control.interrupt(Interruption.CANCELLED)
    with scene.when_asked(lambda: scene.ledger.fetched("a", 2, SURE)):
        control.wait_until_ours()


def test_where_nobody_else_can_have_the_run_nothing_is_waited_for() -> None:
    control = RunControl()
    assert control.is_ours
    control.wait_until_ours()


def test_an_expired_lease_in_our_hands_is_not_ours(scene: Scene) -> None:
    scene.ledger.vouched(SURE)
    with scene.ledger.changed:
        scene.ledger.inside.expire(SURE)
    assert not scene.claim().is_sure
    assert not scene.claim().wait(lambda: True)
