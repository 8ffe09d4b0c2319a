"""The figures that Prometheus is given. Labels are words of ours alone: no id, URL or image is ever among them."""

from __future__ import annotations

import threading
import time

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from worker.counters import Direction
from worker.observers import RunEnd, RunEnded, RunInWork, Stage

PREFIX = "codalab_worker"
FAULTS = {
    "": "none",
    "ParticipantFault": "participant",
    "OrganiserFault": "organiser",
    "PassingFault": "platform_passing",
    "LastingFault": "platform_lasting",
    "UnexpectedFault": "platform_unexpected",
    "MessageFault": "message",
    "CancelledFault": "cancelled",
}
STAGES: tuple[str, ...] = tuple(Stage)
LINKS = ("intake", "updates")
_OTHER = "other"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONG = (1, 5, 15, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY)
_PULL = (1, 5, 15, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR)
_FORESEEN = {
    RunEnd.FINISHED: ("none",),
    RunEnd.FAILED: ("participant", "organiser", "platform_passing", "platform_lasting", "platform_unexpected"),
    RunEnd.CANCELLED: ("cancelled",),
    RunEnd.RETRIED: ("platform_passing",),
    RunEnd.GIVEN_BACK: ("none",),
    RunEnd.LOST: ("none",),
}
_REFUSALS = ("message", "participant")


class Metrics:
    """A `RunObserver` and `Counters` in one; every series that can be foreseen begins at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # else there is one more to each series
        self._lock = threading.Lock()
        self._stages: dict[RunInWork, tuple[str, float]] = {}
        self._runs = Counter(
            f"{PREFIX}_runs",
            "Runs that left this worker's hands, by how and by whose fault.",
            ("end", "fault"),
            registry=registry,
        )
        self._run_seconds = Histogram(
            f"{PREFIX}_run_duration_seconds", "Time that runs were in hand.", ("end",), registry=registry, buckets=_LONG
        )
        self._stage_seconds = Histogram(
            f"{PREFIX}_stage_duration_seconds",
            "Time that runs spent in a stage.",
            ("stage",),
            registry=registry,
            buckets=_LONG,
        )
        self._pull_seconds = Histogram(
            f"{PREFIX}_image_pull_duration_seconds",
            "Time that pulls of images took.",
            ("result",),
            registry=registry,
            buckets=_PULL,
        )
        self._bytes = Counter(
            f"{PREFIX}_transfer_bytes", "Bytes from (down) and to (up) stores.", ("direction",), registry=registry
        )
        self._cache = Counter(
            f"{PREFIX}_cache_requests",
            "Bundles that can be cached: those that were (hit), and those that were downloaded (miss).",
            ("result",),
            registry=registry,
        )
        self._connections = Counter(
            f"{PREFIX}_broker_connections",
            "Connections made to the broker: the first, and reconnects.",
            ("link",),
            registry=registry,
        )
        self._refusals = Counter(
            f"{PREFIX}_messages_refused",
            "Messages refused before they became runs, by whose fault.",
            ("fault",),
            registry=registry,
        )
        self._renewals = Counter(f"{PREFIX}_lease_renewals", "Leases renewed.", registry=registry)
        self._losses = Counter(f"{PREFIX}_leases_lost", "Leases that could not be renewed in time.", registry=registry)
        self._begin()

    def run_taken(self, run: RunInWork) -> None:
        """As in `RunObserver`."""

    def run_stage(self, run: RunInWork, stage: str) -> None:
        """As in `RunObserver`."""
        self._change_stage(run, stage)

    def run_ended(self, run: RunInWork, ended: RunEnded) -> None:
        """As in `RunObserver`."""
        self._change_stage(run, None)
        self._runs.labels(ended.end, FAULTS.get(ended.fault, _OTHER)).inc()
        self._run_seconds.labels(ended.end).observe(ended.runtime)

    def transferred(self, direction: Direction, size: int) -> None:
        """As in `Counters`."""
        self._bytes.labels(direction).inc(size)

    def pulled(self, seconds: float, ok: bool) -> None:
        """As in `Counters`."""
        self._pull_seconds.labels(_pull_result(ok=ok)).observe(seconds)

    def cache_asked(self, hit: bool) -> None:
        """As in `Counters`."""
        self._cache.labels(_cache_result(hit=hit)).inc()

    def connected(self, link: str) -> None:
        """As in `Counters`."""
        self._connections.labels(link if link in LINKS else _OTHER).inc()

    def refused(self, fault: str) -> None:
        """As in `Counters`."""
        self._refusals.labels(FAULTS.get(fault, _OTHER)).inc()

    def leases_renewed(self, count: int) -> None:
        """As in `Counters`."""
        self._renewals.inc(count)

    def lease_lost(self) -> None:
        """As in `Counters`."""
        self._losses.inc()

    def _begin(self) -> None:
        """A counter that appears with its first event would hide that event from `increase`."""
        for end, faults in _FORESEEN.items():
            self._run_seconds.labels(end)
            for fault in faults:
                self._runs.labels(end, fault)
        for fault in _REFUSALS:
            self._refusals.labels(fault)
        for stage in STAGES:
            self._stage_seconds.labels(stage)
        for ok in (True, False):
            self._pull_seconds.labels(_pull_result(ok=ok))
            self._cache.labels(_cache_result(hit=ok))
        for direction in ("down", "up"):
            self._bytes.labels(direction)
        for link in LINKS:
            self._connections.labels(link)

    def _change_stage(self, run: RunInWork, stage: str | None) -> None:
        now = time.monotonic()
        with self._lock:
            before = self._stages.pop(run, None)
            if stage is not None:
                self._stages[run] = (stage if stage in STAGES else _OTHER, now)
        if before:
            self._stage_seconds.labels(before[0]).observe(now - before[1])


def _pull_result(*, ok: bool) -> str:
    return "ok" if ok else "failed"


def _cache_result(*, hit: bool) -> str:
    return "hit" if hit else "miss"
