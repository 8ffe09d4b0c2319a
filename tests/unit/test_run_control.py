"""Interruptions: why, and whom they reach."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import cast

import pytest

from sandbox.cancellation import Cancellation
from sandbox.errors import Cancelled
from sandbox.gpu import GpuRequest
from sandbox.runner import Container
from sandbox.slots import Share, Slots
from worker.run_control import InterruptedRunError, Interruption, RunControl


class Stoppable:
    def __init__(self) -> None:
        self.graces: list[float] = []

    def stop(self, *, most_grace: float) -> None:
        self.graces.append(most_grace)


def test_the_weightiest_reason_counts_and_shortens_the_grace() -> None:
    control, container = RunControl(), Stoppable()

    def interrupted() -> None:
        with control.watching(cast("Container", container)):
            control.interrupt()
            control.interrupt(Interruption.LOST)
            control.interrupt(Interruption.CANCELLED)

    with pytest.raises(InterruptedRunError):
        interrupted()
    assert control.reason is Interruption.LOST
    assert container.graces == [float("inf"), 0.0, 0.0]


def test_a_container_that_comes_after_the_interruption_is_stopped_before_it_runs() -> None:
    control, container = RunControl(), Stoppable()
    control.interrupt(Interruption.CANCELLED)
    with pytest.raises(InterruptedRunError), control.watching(cast("Container", container)):
        assert container.graces == [0.5]


def test_only_a_loss_withdraws_what_the_site_is_about_to_be_told() -> None:
    control, confirmed = RunControl(), Future[None]()
    with control.losing(confirmed.cancel):
        control.interrupt(Interruption.CANCELLED)
        control.check_not_lost()
        assert not confirmed.cancelled()
        control.interrupt(Interruption.LOST)
        assert confirmed.cancelled()
    with pytest.raises(InterruptedRunError):
        control.check_not_lost()


def test_a_wait_for_gpus_ends_when_nobody_wants_the_run_any_more() -> None:
    slots, cancellation = Slots([Share(GpuRequest(("0",)))]), Cancellation()
    cancelling = threading.Timer(0.01, cancellation.cancel)
    with slots.take():
        cancelling.start()
        with pytest.raises(Cancelled), slots.take(cancellation=cancellation):
            raise AssertionError("there was none to give")
    cancelling.join()
    with slots.take() as share:
        assert share == Share(GpuRequest(("0",)))
