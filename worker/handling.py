"""From a delivery to its settlement: what is decoded, worked, told and acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Protocol

import structlog

from protocol import celery_envelope, codalab
from protocol.addressee import Addressee, addressee
from protocol.celery_envelope import CeleryTask
from protocol.faults import Fault, MessageFault, PassingFault
from protocol.run import RunRequest
from worker.broker.delivery import Delivery
from worker.in_hand import Arrival, InHand
from worker.logs import bind_run
from worker.pipeline import work
from worker.recovery import Recovery
from worker.reporting import Reporter
from worker.tools import InterruptedRunError, RunControl, Tools

MAX_ATTEMPTS = 3
"""Attempts at a run, in all, where each fails for a passing reason."""

_log = structlog.get_logger(__name__)


class Settler(Protocol):
    """Settles deliveries with the broker; each call may come from any thread, and returns at once."""

    def ack(self, delivery: Delivery) -> None:
        """The run is over."""

    def reject(self, delivery: Delivery) -> None:
        """It was no run: to the dead-letter exchange, if the queue has one."""

    def give_back(self, delivery: Delivery) -> None:
        """To where it was in the queue, as if never taken."""

    def retry(self, delivery: Delivery) -> None:
        """To the end of the queue, with one failed attempt more on its count."""


class Handler:
    """Works deliveries in `slots` threads, and calls `on_idle` whenever one of them has nothing left to do."""

    def __init__(
        self, tools: Tools, settler: Settler, *, slots: int, on_idle: Callable[[], None], recovery: Recovery
    ) -> None:
        self._tools = tools
        self._settler = settler
        self._on_idle = on_idle
        self._recovery = recovery
        self._in_hand = InHand(tools.journals.confirmed())
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="slot")

    @property
    def busy(self) -> int:
        """Runs in work."""
        return len(self._in_hand)

    def interrupt_all(self) -> None:
        """Stops every container; the runs are given back."""
        self._in_hand.interrupt_all()

    def wait_idle(self, timeout: float) -> bool:
        """Waits until nothing is in work, `timeout` seconds at most; says whether it came to that."""
        return self._in_hand.wait_empty(timeout)

    def close(self) -> None:
        """Waits for the slots to end."""
        self._pool.shutdown()

    def on_delivery(self, delivery: Delivery) -> None:
        """Takes a message in hand; returns at once, the work is a slot's."""
        task: CeleryTask | None = None
        try:
            task = celery_envelope.decode(
                delivery.body,
                headers=delivery.headers,
                content_type=delivery.content_type,
                content_encoding=delivery.content_encoding,
            )
            request = codalab.run_request(task)
        except Fault as fault:
            self._pool.submit(self._refuse, delivery, fault, _whom_to_tell(fault, task))
            return
        if task.expires and task.expires < datetime.now(UTC):
            _log.info("message expired in the queue", run=task.id)
            self._settler.ack(delivery)
            return
        self._take(request, delivery)

    def _take(self, request: RunRequest, delivery: Delivery) -> None:
        self._recovery.claim(request.message_id)
        control = RunControl()
        match self._in_hand.arrive(request.message_id, delivery, control):
            case Arrival.NEW:
                self._pool.submit(self._work, request, delivery, control)
            case Arrival.DUPLICATE:
                _log.warning("delivered again, its run is done or in work here", run=request.message_id)
                self._settler.ack(delivery)
            case Arrival.ADOPTED:
                _log.info("delivered again, its run goes on", run=request.message_id)

    def _refuse(self, delivery: Delivery, fault: Fault, whom: Addressee | None) -> None:
        """Tells the site, where it can be told; a message that is no run is kept, and rejected."""
        bind_run(task_id=whom.task_id if whom else None)
        _log.warning("message refused", sentence=fault.sentence, detail=fault.detail)
        try:
            if whom:
                settings = self._tools.settings
                Reporter(whom.task_id, whom.secret, self._tools.updates, settings.codalab_hostname).failed(fault)
        except InterruptedRunError:
            return  # unsettled: it returns to the queue when the connection ends
        except Exception:  # noqa: BLE001 -- a slot outlives every bug
            _log.exception("a refusal could not be told")
        if isinstance(fault, MessageFault):
            path = self._tools.temp_dir.keep_rejected(delivery.body, str(whom.task_id if whom else "message"))
            _log.info("message rejected", kept=str(path) if path else "no room")
            self._settler.reject(delivery)
        else:
            self._settler.ack(delivery)

    def _work(self, request: RunRequest, delivery: Delivery, control: RunControl) -> None:
        attempt = delivery.failed_attempts + 1
        bind_run(run=request.message_id, submission=request.submission_id, attempt=attempt)
        _log.info("run taken", docker_submission=bool(request.submission), predict=request.predict)
        settle, ended = self._attempt(request, control, last=attempt >= MAX_ATTEMPTS)
        settle(self._in_hand.leave(request.message_id, ended=ended))
        self._on_idle()

    def _attempt(
        self, request: RunRequest, control: RunControl, *, last: bool
    ) -> tuple[Callable[[Delivery], None], bool]:
        """How to settle the run's delivery after one attempt, and whether the run is over."""
        try:
            work(request, self._tools, control, last_attempt=last)
        except InterruptedRunError:
            _log.info("run given back")
            return self._settler.give_back, False
        except PassingFault as fault:
            _log.warning("attempt failed", sentence=fault.sentence, detail=fault.detail)
            return self._settler.retry, False
        except Exception:  # noqa: BLE001 -- a slot outlives every bug
            _log.exception("a bug outside of the run's own stages")
        return self._settler.ack, True


def _whom_to_tell(fault: Fault, task: CeleryTask | None) -> Addressee | None:
    if isinstance(fault, MessageFault) and fault.task_id is not None and fault.secret:
        return Addressee(fault.task_id, fault.secret)
    return addressee(task.args) if task else None
