"""The daemon: connects, works, drains on SIGTERM, gives runs back on the second.

The main thread only waits for what happens; AMQP connections and runs have threads of their own, so nothing that
one of them does delays another.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import structlog

from config.load import SettingsError, reread
from config.settings import Settings
from worker import compose, compose_monitor, logs
from worker.broker.consumer import Consumer
from worker.broker.events import WorkerEvents
from worker.broker.lease_terms import LeaseTerms
from worker.broker.status_sink import AmqpStatusSink
from worker.exit_codes import ExitCode
from worker.happenings import Happenings, Idle, Refused, Reread, Signalled
from worker.kept.disk import DiskGuard
from worker.observers import Observers
from worker.runs.handling import Handler
from worker.runs.recovery import Recovery
from worker.service_manager import ServiceManager, StatusLine
from worker.signals import watch_signals
from worker.tools import Tools

_CONFIRM_MARGIN = 5.0  # seconds beyond the stop grace for a terminal status that is on its way
_INTERRUPT_MARGIN = 30.0  # seconds after that for a slot to let go
_END_MARGIN = _CONFIRM_MARGIN + _INTERRUPT_MARGIN + 15.0  # the broker may take some of it, too

_log = structlog.get_logger(__name__)


class Daemon:
    """One worker process. `run` returns when it has drained, or cannot begin. `load` reads the settings again."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._manager = ServiceManager()
        self._happenings = Happenings(self._manager)

    def run(self) -> ExitCode:
        """Works until told to stop. Raises what `compose` raises where the worker cannot be set up."""
        settings, happenings = self._settings, self._happenings
        watch_signals(happenings.signalled, reread=True)
        connections = compose.broker(settings)
        monitor = compose_monitor.monitor(settings)
        counters = monitor.counters
        updates = AmqpStatusSink(
            connections.updates, settings.worker_updates_queue, on_refused=happenings.refused, counters=counters
        )
        with closing(monitor), compose.tools(settings, updates, counters=counters) as tools:
            recovery = Recovery(tools)
            recovery.sweep()
            if tools.walls:
                tools.walls.keep_ready(len(tools.slots))
            slots = len(tools.slots)
            consumer = Consumer(
                connections.runs,
                LeaseTerms(settings.worker_queue, tools.worker_id, settings.worker_lease_ttl),
                slots=slots,
                beside=slots,
                on_refused=happenings.refused,
                on_ready=recovery.connected,
                counters=counters,
            )
            recovery.on_given_up = consumer.look_again
            events = WorkerEvents()
            handler = Handler(
                tools,
                consumer,
                beside=slots,
                on_idle=happenings.idle,
                recovery=recovery,
                observers=Observers([events, StatusLine(self._manager), *monitor.observers]),
                counters=counters,
            )
            control = compose.remote_control(
                settings, connections.control, tools, handler, events, happenings.asked_to_end
            )
            guard = DiskGuard(
                tools.disks,
                self._settings.worker_min_free_disk,
                pause=consumer.pause,
                resume=consumer.resume,
                make_room=partial(_give_up_an_image, tools),
            )
            guard.start()
            control.start()
            updates.start()
            consumer.start(handler)
            monitor.start(compose_monitor.watched(tools, handler, consumer, updates, happenings.is_alive))
            _log.info("worker started", queue=settings.worker_queue, slots=slots)
            self._manager.ready()
            self._manager.status("waiting for runs")
            code = self._supervise(consumer, handler)
            guard.close()
            recovery.close()
            happenings.ending()
            _shut_down(consumer, handler, updates, settings.worker_stop_grace)
            control.close()
            _log.info("worker stopped")
        return code

    def _supervise(self, consumer: Consumer, handler: Handler) -> ExitCode:
        """Waits for an end: refused by the broker, or drained after a signal."""
        while isinstance(event := self._happenings.next(), Idle | Reread | None):
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
        """Returns when nothing is in work or left of what was, the time is up, or a second signal came."""
        deadline = time.monotonic() + self._settings.worker_drain_timeout
        while not handler.wait_idle(0) and time.monotonic() < deadline:
            if isinstance(event := self._happenings.next(deadline), Signalled):
                _log.info("stopping at once", signal=event.name, busy=handler.busy)
                break

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


def _give_up_an_image(tools: Tools, short: frozenset[Path]) -> bool:
    """Images lie in the engine's own folder; where that is not seen, on the same disk as the temp dir perhaps."""
    return tools.disks[-1] in short and tools.images.give_up_one()


def _shut_down(consumer: Consumer, handler: Handler, updates: AmqpStatusSink, grace: float) -> None:
    """Takes nothing any more, interrupts what still runs, settles it, then lets go of the broker."""
    consumer.stop_taking()
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
