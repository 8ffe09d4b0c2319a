"""The daemon: connects, works, drains on SIGTERM, gives runs back on the second.

The main thread only waits for what happens (signals, refusals, slots that fall idle); AMQP connections and
slots have threads of their own, so nothing that one of them does delays another.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import structlog

from config.load import SettingsError, reread
from config.settings import Settings
from sandbox import labels
from sandbox.sweep import remove_leftovers
from worker import compose, logs
from worker.broker.consumer import Consumer
from worker.broker.events import WorkerEvents
from worker.broker.lease_terms import LeaseTerms
from worker.broker.status_sink import AmqpStatusSink
from worker.exit_codes import ExitCode
from worker.handling import Handler
from worker.observers import Observers
from worker.service_manager import ServiceManager, StatusLine
from worker.signals import REREAD, watch_signals
from worker.tools import Tools

_CONFIRM_MARGIN = 5.0  # seconds beyond the stop grace for a terminal status that is on its way
_INTERRUPT_MARGIN = 30.0  # seconds after that for a slot to let go

_END_MARGIN = _CONFIRM_MARGIN + _INTERRUPT_MARGIN + 15.0  # the broker may take some of it, too

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
class Reread:
    """The settings are to be read again."""


Event = Signalled | Asked | Refused | Idle | Reread


class Daemon:
    """One worker process. `run` returns when it has drained, or cannot begin. `load` reads the settings again."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._manager = ServiceManager()
        self._events: SimpleQueue[Event] = SimpleQueue()

    def run(self) -> ExitCode:
        """Works until told to stop. Raises what `compose` raises where the worker cannot be set up."""
        watch_signals(self._signalled, reread=True)
        connections = compose.broker(self._settings)
        updates = AmqpStatusSink(connections.updates, self._settings.worker_updates_queue, on_refused=self._refused)
        with compose.tools(self._settings, updates) as tools:
            _sweep(tools)
            consumer = Consumer(
                connections.runs,
                LeaseTerms(self._settings.worker_queue, tools.worker_id, self._settings.worker_lease_ttl),
                slots=self._settings.worker_concurrency,
                on_refused=self._refused,
            )
            events = WorkerEvents()
            handler = Handler(
                tools,
                consumer,
                slots=self._settings.worker_concurrency,
                on_idle=self._idle,
                observers=Observers([events, StatusLine(self._manager)]),
            )
            control = compose.remote_control(
                self._settings, connections.control, tools.worker_id, handler, events, self._asked_to_end
            )
            control.start()
            updates.start()
            consumer.start(handler)
            _log.info("worker started", queue=self._settings.worker_queue, slots=self._settings.worker_concurrency)
            self._manager.ready()
            self._manager.status("waiting for runs")
            code = self._supervise(consumer, handler)
            _shut_down(consumer, handler, updates, self._settings.worker_stop_grace)
            control.close()
            _log.info("worker stopped")
        return code

    def _supervise(self, consumer: Consumer, handler: Handler) -> ExitCode:
        """Waits for an end: refused by the broker, or drained after a signal."""
        while isinstance(event := self._next(math.inf), Idle | Reread | None):
            if isinstance(event, Reread):  # the others are only of interest when draining
                self._reread(handler)
        if isinstance(event, Refused):
            _log.error("cannot work", reason=event.reason)
            return ExitCode.UNREACHABLE
        _log.info("draining", reason=event.name, busy=handler.busy)
        self._manager.stopping(self._settings.worker_drain_timeout + self._settings.worker_stop_grace + _END_MARGIN)
        consumer.stop_taking()
        self._drain(handler)
        return ExitCode.OK

    def _drain(self, handler: Handler) -> None:
        """Returns when nothing is in work any more, the time is up, or a second signal came."""
        deadline = time.monotonic() + self._settings.worker_drain_timeout
        while handler.busy and time.monotonic() < deadline:
            if isinstance(event := self._next(deadline), Signalled):
                _log.info("stopping at once", signal=event.name, busy=handler.busy)
                break

    def _next(self, deadline: float) -> Event | None:
        """The next event, None at the deadline; the service manager hears meanwhile that this thread is alive."""
        while (left := deadline - time.monotonic()) > 0:
            self._manager.alive()
            wait = min(left, self._manager.period or math.inf)
            with suppress(Empty):
                return self._events.get(timeout=None if wait == math.inf else wait)
        return None

    def _reread(self, handler: Handler) -> None:
        """Takes over what can be changed while runs are in work; faulty settings change nothing."""
        self._manager.reloading()
        try:
            self._settings, others = reread(self._settings, self._load())
        except SettingsError as error:
            _log.error("settings not read again", faults=str(error))
        else:
            logs.set_level(self._settings.log_level)
            handler.reconfigure(self._settings)
            _log.info("settings read again", need_a_restart=others)
        self._manager.ready()

    def _refused(self, reason: str) -> None:
        self._events.put(Refused(reason))

    def _idle(self) -> None:
        self._events.put(Idle())

    def _asked_to_end(self) -> None:
        self._events.put(Asked("shutdown"))

    def _signalled(self, name: str) -> None:
        self._events.put(Reread() if name == REREAD else Signalled(name))


def _sweep(tools: Tools) -> None:
    """What an earlier process of this worker left behind: nobody waits for it, its messages come again."""
    containers = remove_leftovers(tools.sandbox.engine, {labels.WORKER: tools.worker_id})
    folders = tools.temp_dir.clear_runs() + tools.temp_dir.clear_abandoned()
    if containers or folders:
        _log.warning("removed what an earlier worker left", containers=containers, folders=folders)


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
