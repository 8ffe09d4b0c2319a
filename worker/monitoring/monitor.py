"""The monitor of one worker: figures, health and the status page, on one address."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from worker.counters import Counters
from worker.monitoring.board import Board
from worker.monitoring.gpus import GpuMeter
from worker.monitoring.health import Glance, Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import status_page
from worker.monitoring.server import Answer, WebServer
from worker.monitoring.state import State
from worker.observers import RunInWork, RunObserver
from worker.watched import RunLoad, Watched

_log = structlog.get_logger(__name__)


class WebMonitor:
    """A `worker.watched.Monitor`. `gpus` says whether to look at them.

    Raises `OSError` where the address cannot be had.
    """

    def __init__(self, host: str, port: int, *, gpus: bool) -> None:
        self._server = WebServer(host, port)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._metrics = Metrics(self._registry)
        self._board = Board()
        self._gpus = GpuMeter() if gpus else None

    @property
    def counters(self) -> Counters:
        """As in `Monitor`."""
        return self._metrics

    @property
    def observers(self) -> Sequence[RunObserver]:
        """As in `Monitor`."""
        return (self._metrics, self._board)

    def start(self, watched: Watched) -> None:
        """As in `Monitor`."""
        health = Health(watched)
        self._registry.register(State(watched, health, self._gpus.read if self._gpus else None))
        loads = Glance(lambda: {one.run: watched.load(one.run) for one in self._board.current()})
        self._server.start(
            {
                "/": partial(self._page, watched, health, loads),
                "/metrics": self._figures,
                "/healthz": lambda: _verdict("alive", health.ailments()),
                "/readyz": lambda: _verdict("ready", health.obstacles()),
            }
        )
        _log.info("metrics, health and the status page are served", address=self._server.address)

    def close(self) -> None:
        """As in `Monitor`."""
        self._server.close()

    def _page(self, watched: Watched, health: Health, loads: Glance[dict[RunInWork, RunLoad]]) -> Answer:
        known = loads() if health.is_engine_up() else {}
        rows = [(one, known.get(one.run, RunLoad())) for one in self._board.current()]
        return status_page(watched, health, rows, self._board.past())

    def _figures(self) -> Answer:
        return Answer(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)


def _verdict(word: str, against: Sequence[str]) -> Answer:
    if against:
        return Answer("".join(f"{reason}\n" for reason in against), HTTPStatus.SERVICE_UNAVAILABLE)
    return Answer(f"{word}\n")
