"""What a monitor may look at, and what the daemon asks of one; there is none unless WORKER_METRICS is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.counters import NO_COUNTERS, Counters
from worker.observers import RunInWork, RunObserver


@dataclass(frozen=True, slots=True)
class RunLoad:
    """What a run takes at this moment, in bytes; None where that cannot be known.

    `memory` is that of its containers, `output` what lies in its output folders and its logs. `output` may be more
    where `more` is set: the look at a folder of very many files is broken off.
    """

    memory: int | None = None
    output: int | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """A worker as its monitor sees it. All may be called from any thread; none raises."""

    name: str
    """What the site calls this worker."""
    version: str
    slots: int
    busy: Callable[[], int]
    """Slots that are taken: less than the runs in work, where results of some are stored."""
    leases: Callable[[], int]
    """Leases held."""
    links: Mapping[str, Callable[[], bool]]
    """Whether each connection to the broker is up."""
    engine: Callable[[], bool]
    """Whether the engine answers, asked now: may take seconds."""
    alive: Callable[[], bool]
    """Whether the main thread comes round, asked now: may take seconds."""
    free_disk: Callable[[], int]
    """Bytes that are free for the temp dir."""
    least_disk: int
    load: Callable[[RunInWork], RunLoad]


class Monitor(Protocol):
    """Keeps figures and shows them."""

    @property
    def counters(self) -> Counters:
        """Where the rooms of the worker count."""
        ...

    @property
    def observers(self) -> Sequence[RunObserver]:
        """Who is told how runs go."""
        ...

    def start(self, watched: Watched) -> None:
        """Begins to show that worker."""

    def close(self) -> None:
        """Shows nothing any more."""


class NoMonitor:
    """Nobody looks."""

    counters: Counters = NO_COUNTERS
    observers: Sequence[RunObserver] = ()

    def start(self, watched: Watched) -> None:
        """As in `Monitor`."""

    def close(self) -> None:
        """As in `Monitor`."""
