"""The daemon: connects, works, drains on SIGTERM, gives runs back on the second.

The main thread only waits for what happens (signals, refusals, slots that fall idle); AMQP connections and
slots have threads of their own, so nothing that one of them does delays another.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from config.settings import Settings
from worker import compose, compose_monitor
from worker.broker.consumer import Consumer
from worker.broker.events import WorkerEvents
from worker.broker.lease_terms import LeaseTerms
from worker.broker.status_sink import AmqpStatusSink
from worker.exit_codes import ExitCode
from worker.handling import Handler
from worker.observers import Observers
from worker.recovery import Recovery
from worker.signals import watch_signals

_CONFIRM_MARGIN = 5.0  # seconds beyond the stop grace for a terminal status that is on its way
_PULSE = 3.0  # seconds that the main thread may take to come round
_INTERRUPT_MARGIN = 30.0  # seconds after that for a slot to let go

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Signalled:
    """The process got a signal."""

    name: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who may has asked the worker, by Celery's remote control, to finish its runs and end."""

    name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker will not have us."""

    reason: str


@dataclass(frozen=True, slots=True)
class Idle:
    """A slot has ended a run."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Somebody asks whether the main thread still comes round: `felt` is its answer."""

    felt: threading.Event = field(default_factory=threading.Event)


Event = Signalled | Asked | Refused | Idle


class Daemon:
    """One worker process. `run` returns when it has drained, or cannot begin."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._events: SimpleQueue[Event | Pulse] = SimpleQueue()
        self._ending = False

    def run(self) -> ExitCode:
        """Works until told to stop. Raises what `compose` raises where the worker cannot be set up."""
        watch_signals(self._signalled)
        connections = compose.broker(self._settings)
        monitor = compose_monitor.monitor(self._settings)
        updates = AmqpStatusSink(
            connections.updates,
            self._settings.worker_updates_queue,
            on_refused=self._refused,
            counters=monitor.counters,
        )
        with closing(monitor), compose.tools(self._settings, updates, counters=monitor.counters) as tools:
            recovery = Recovery(tools)
            recovery.sweep()
            consumer = Consumer(
                connections.runs,
                LeaseTerms(self._settings.worker_queue, tools.worker_id, self._settings.worker_lease_ttl),
                slots=self._settings.worker_concurrency,
                on_refused=self._refused,
                on_ready=recovery.connected,
                counters=monitor.counters,
            )
            events = WorkerEvents()
            handler = Handler(
                tools,
                consumer,
                slots=self._settings.worker_concurrency,
                on_idle=self._idle,
                recovery=recovery,
                observers=Observers([events, *monitor.observers]),
                counters=monitor.counters,
            )
            control = compose.remote_control(
                self._settings, connections.control, tools.worker_id, handler, events, self._asked_to_end
            )
            control.start()
            updates.start()
            consumer.start(handler)
            monitor.start(compose_monitor.watched(tools, handler, consumer, updates, self._is_alive))
            _log.info("worker started", queue=self._settings.worker_queue, slots=self._settings.worker_concurrency)
            code = self._supervise(consumer, handler)
            recovery.close()
            self._ending = True
            _shut_down(consumer, handler, updates, self._settings.worker_stop_grace)
            control.close()
            _log.info("worker stopped")
        return code

    def _supervise(self, consumer: Consumer, handler: Handler) -> ExitCode:
        """Waits for an end: refused by the broker, or drained after a signal."""
        while isinstance(event := self._next(), Idle):
            pass  # only of interest when draining
        if isinstance(event, Refused):
            _log.error("cannot work", reason=event.reason)
            return ExitCode.UNREACHABLE
        _log.info("draining", reason=event.name, busy=handler.busy)
        consumer.stop_taking()
        self._drain(handler)
        return ExitCode.OK

    def _drain(self, handler: Handler) -> None:
        """Returns when nothing is in work any more, the time is up, or a second signal came."""
        deadline = time.monotonic() + self._settings.worker_drain_timeout
        while handler.busy and (left := deadline - time.monotonic()) > 0:
            try:
                event = self._next(left)
            except Empty:
                break
            if isinstance(event, Signalled):
                _log.info("stopping at once", signal=event.name, busy=handler.busy)
                break

    def _next(self, timeout: float | None = None) -> Event:
        """What has happened; raises `Empty` when `timeout` seconds pass first."""
        ends = None if timeout is None else time.monotonic() + timeout
        while True:
            event = self._events.get(timeout=None if ends is None else max(0.0, ends - time.monotonic()))
            if not isinstance(event, Pulse):
                return event
            event.felt.set()

    def _is_alive(self) -> bool:
        """From another thread: whether the main thread comes round, or is on its way to the end."""
        pulse = Pulse()
        self._events.put(pulse)
        return pulse.felt.wait(_PULSE) or self._ending

    def _refused(self, reason: str) -> None:
        self._events.put(Refused(reason))

    def _idle(self) -> None:
        self._events.put(Idle())

    def _asked_to_end(self) -> None:
        self._events.put(Asked("shutdown"))

    def _signalled(self, name: str) -> None:
        self._events.put(Signalled(name))


def _shut_down(consumer: Consumer, handler: Handler, updates: AmqpStatusSink, grace: float) -> None:
    """Interrupts what still runs, settles it, then lets go of the broker."""
    handler.interrupt_all()
    handler.wait_idle(grace + _CONFIRM_MARGIN)
    updates.close()  # a run that still waits for a confirm is interrupted by this
    if not handler.wait_idle(_INTERRUPT_MARGIN):
        _log.error("a run does not let go; its message returns to the queue with the connection")
        consumer.close()
        logging.shutdown()
        os._exit(ExitCode.OK)
    handler.close()
    consumer.close()
