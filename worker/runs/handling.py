"""From a delivery to its settlement: what is decoded, worked, told and acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import structlog

from config.settings import Settings
from protocol import celery_envelope, codalab
from protocol.addressee import Addressee, addressee
from protocol.celery_envelope import CeleryTask
from protocol.faults import Fault, MessageFault
from protocol.run import RunRequest
from worker.broker.delivery import Delivery, Settlement
from worker.counters import NO_COUNTERS, Counters
from worker.kept.remembered import Remembered
from worker.logs import bind_run
from worker.observers import Observers, RunInWork, Stage
from worker.run_control import Claim, InterruptedRunError, Interruption, RunControl
from worker.runs.attempt import make_attempt
from worker.runs.in_hand import Arrival, Held, InHand
from worker.runs.recovery import Recovery
from worker.runs.reporting import reporter
from worker.stages.admission import time_limit
from worker.tools import Tools

_REVOKED = 10_000  # names kept of runs that were cancelled, for their messages may be in the queue still

_log = structlog.get_logger(__name__)


class Settler(Protocol):
    """Settles deliveries with the broker; each call may come from any thread, and returns at once."""

    def settle(self, delivery: Delivery, how: Settlement) -> None:
        """The delivery is no longer in hand."""

    def is_held(self, delivery: Delivery) -> bool:
        """True where the broker surely gives it to nobody else at this moment."""
        ...

    def look_again(self) -> None:
        """Another run may be taken now, where none could be before."""

    def claim(self, which: Callable[[], Delivery]) -> Claim:
        """Our claim on the run that has the delivery which `which` gives at any time."""
        ...


class Handler:
    """Works deliveries, as many at a time as there are slots, and calls `on_idle` whenever one has come to its end.

    `beside` more may be in hand: while the results of a run are stored and told, and what is left of it is removed,
    another has its slot.
    """

    def __init__(
        self,
        tools: Tools,
        settler: Settler,
        *,
        beside: int = 0,
        on_idle: Callable[[], None],
        recovery: Recovery,
        observers: Observers | None = None,
        counters: Counters = NO_COUNTERS,
    ) -> None:
        self._tools = tools
        self._settler = settler
        self._on_idle = on_idle
        self._recovery = recovery
        self._observers = observers or Observers()
        self._counters = counters
        self._in_hand = InHand(settler.is_held, ended=tools.journals.confirmed())
        self._revoked = Remembered(_REVOKED)
        self._slots = len(tools.slots)
        self._most = self._slots + beside
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="run")

    @property
    def busy(self) -> int:
        """Runs in work."""
        return len(self._in_hand)

    @property
    def room(self) -> int:
        """How many runs could be begun at once: lost ones count until their containers are gone, too."""
        return min(self._slots - self.busy_slots, self._most - self._in_hand.threads)

    @property
    def busy_slots(self) -> int:
        """Slots with a run that is staged or computed, or with containers of an earlier process."""
        return self._in_hand.in_slots + self._recovery.computing

    def active(self) -> tuple[RunInWork, ...]:
        """The runs in work, as others may see them."""
        return self._in_hand.runs()

    def cancel(self, message_id: str) -> bool:
        """Ends that run, now if it is in work (True), else when its message comes; the site is told that it failed."""
        self._revoked.add(message_id)
        return self._in_hand.interrupt(message_id, Interruption.CANCELLED)

    def revoked(self) -> tuple[str, ...]:
        """The message ids that were cancelled, the latest last."""
        return self._revoked.all()

    def lost(self, delivery: Delivery) -> None:
        """The broker gives it to another worker: its containers are killed, and nothing is told or settled."""
        self._in_hand.lose(delivery)

    def interrupt_all(self) -> None:
        """Stops every container; the runs are given back."""
        self._in_hand.interrupt_all()

    def wait_idle(self, timeout: float) -> bool:
        """Waits until nothing is in work or left of what was, `timeout` seconds at most; whether it came to that."""
        return self._in_hand.wait_empty(timeout)

    def close(self) -> None:
        """Waits for the threads to end."""
        self._pool.shutdown()

    def reconfigure(self, settings: Settings) -> None:
        """Runs that are taken from now on are worked with these."""
        self._tools = replace(self._tools, settings=settings)

    def is_run(self, delivery: Delivery) -> bool:
        """True where the message can be understood, whatever becomes of it."""
        try:
            codalab.run_request(_decoded(delivery))
        except MessageFault:
            return False
        except Fault:
            return True
        return True

    def on_delivery(self, delivery: Delivery) -> None:
        """Takes a message in hand; returns at once, the work is a slot's."""
        task: CeleryTask | None = None
        try:
            task = _decoded(delivery)
            request = codalab.run_request(task)
        except Fault as fault:
            self._pool.submit(self._refuse, delivery, fault, _whom_to_tell(fault, task))
            return
        if task.expires and task.expires < datetime.now(UTC):
            _log.info("message expired in the queue", run=task.id)
            self._settler.settle(delivery, Settlement.ACK)
            return
        self._take(request, delivery)

    def _take(self, request: RunRequest, delivery: Delivery) -> None:
        self._recovery.claim(request.message_id)
        control = RunControl(self._settler.claim(lambda: held.delivery))  # another one where it is delivered again
        held = Held(delivery, control, _in_work(request, delivery, time_limit(request, self._tools)))
        arrival, surplus = self._in_hand.arrive(held)
        if arrival is Arrival.NEW:
            self._pool.submit(self._work, request, held)
        elif arrival is Arrival.ADOPTED:
            _log.info("delivered again, its run goes on", run=request.message_id)
        else:
            _log.warning("delivered again, its run is done or in work here", run=request.message_id)
        if surplus:
            self._settler.settle(surplus, Settlement.ACK)

    def _refuse(self, delivery: Delivery, fault: Fault, whom: Addressee | None) -> None:
        """Tells the site, where it can be told; a message that is no run is kept, and rejected."""
        bind_run(task_id=whom.task_id if whom else None)
        self._counters.refused(type(fault).__name__)
        _log.warning("message refused", sentence=fault.sentence, detail=fault.detail)
        try:
            if whom:
                reporter(whom, self._tools).failed(fault)
        except InterruptedRunError:
            return  # unsettled: it returns to the queue when the connection ends
        except Exception:  # noqa: BLE001 -- a slot outlives every bug
            _log.exception("a refusal could not be told")
        if isinstance(fault, MessageFault):
            path = self._tools.temp_dir.keep_rejected(delivery.body, str(whom.task_id if whom else "message"))
            _log.info("message rejected", kept=str(path) if path else "no room")
            self._settler.settle(delivery, Settlement.REJECT)
        else:
            self._settler.settle(delivery, Settlement.ACK)

    def _work(self, request: RunRequest, held: Held) -> None:
        self._in_hand.begin(held)
        bind_run(run=request.message_id, submission=request.submission_id, attempt=held.run.attempt)
        _log.info("run taken", docker_submission=held.run.docker_submission, predict=request.predict)
        self._observers.run_taken(held.run)
        try:
            with ExitStack() as afterwards:
                self._attempt_and_settle(request, held, afterwards)
        except Exception:  # noqa: BLE001 -- a slot outlives every bug
            _log.exception("a bug after the end of a run")
        self._in_hand.gone(held)
        self._settler.look_again()
        self._on_idle()

    def _attempt_and_settle(self, request: RunRequest, held: Held, afterwards: ExitStack) -> None:
        """Settles at once: where an end is told and its message not settled, a lost lease has it told twice."""
        cancelled = request.message_id in self._revoked
        on_stage = partial(self._on_stage, held)
        attempt = make_attempt(request, held, self._tools, on_stage, afterwards, cancelled=cancelled)
        delivery = self._in_hand.leave(held, ended=attempt.settlement is Settlement.ACK)
        if delivery:
            if attempt.settlement is Settlement.GIVE_BACK:
                _log.info("run given back")
            self._settler.settle(delivery, attempt.settlement)
        else:
            _log.warning("lease lost, the broker has given this run to another worker, and the site is told nothing")
            attempt = attempt.lost()
            self._settler.look_again()
        self._observers.run_ended(held.run, attempt.ended)

    def _on_stage(self, held: Held, stage: Stage) -> None:
        self._observers.run_stage(held.run, stage)
        if stage is Stage.PUBLISHING:
            self._in_hand.computed(held)
            self._settler.look_again()


def _in_work(request: RunRequest, delivery: Delivery, limit: float) -> RunInWork:
    return RunInWork(
        message_id=request.message_id,
        submission_id=request.submission_id,
        attempt=delivery.failed_attempts + 1,
        taken_at=time.time(),
        time_limit=limit,
        redelivered=delivery.returned,
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        priority=delivery.priority,
        predict=request.predict,
        docker_submission=bool(request.submission),
    )


def _decoded(delivery: Delivery) -> CeleryTask:
    return celery_envelope.decode(
        delivery.body,
        headers=delivery.headers,
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
    )


def _whom_to_tell(fault: Fault, task: CeleryTask | None) -> Addressee | None:
    if isinstance(fault, MessageFault) and fault.task_id is not None and fault.secret:
        return Addressee(fault.task_id, fault.secret)
    return addressee(task.args) if task else None
