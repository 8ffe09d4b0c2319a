"""Who is told how a worker's runs go: events for Flower, metrics, the status page, the service manager.

Observers are told on the thread of the run and must return at once; none of them can hold up or fail a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunInWork:
    """A run as those outside of it may see it: no URL, no secret. `taken_at` is epoch seconds."""

    message_id: str
    submission_id: int | str | None
    attempt: int
    taken_at: float
    time_limit: float
    redelivered: bool = False
    exchange: str = ""
    routing_key: str = ""
    priority: int = 0
    predict: bool = False
    docker_submission: bool = False


class Stage(StrEnum):
    """What a run goes through, in this order."""

    STAGING = "staging"
    PARTICIPANT = "participant"
    SCORING = "scoring"
    PUBLISHING = "publishing"
    """Its containers have ended: it takes no slot any more."""


class RunEnd(StrEnum):
    """How this worker's hold on a run ended."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    """A passing fault: back to the queue, one attempt more on its count."""
    GIVEN_BACK = "given-back"
    LOST = "lost"
    """The broker gave the run to another worker; nothing was told to the site."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of a hold: `fault` is the class name, `sentence` what the site was told; empty where there was none."""

    end: RunEnd
    runtime: float
    fault: str = ""
    sentence: str = ""


class RunObserver(Protocol):
    """Each call may come from any run's thread."""

    def run_taken(self, run: RunInWork) -> None:
        """It is in hand, and begun."""

    def run_stage(self, run: RunInWork, stage: str) -> None:
        """It has come to that `Stage`."""

    def run_ended(self, run: RunInWork, ended: RunEnded) -> None:
        """It is no longer in hand."""


class Observers:
    """Tells each of them; a bug in one is logged, and stops neither the others nor the run."""

    def __init__(self, observers: Iterable[RunObserver] = ()) -> None:
        self._observers = tuple(observers)

    def run_taken(self, run: RunInWork) -> None:
        """As in `RunObserver`."""
        for one in self._observers:
            _guarded(one.run_taken, run)

    def run_stage(self, run: RunInWork, stage: str) -> None:
        """As in `RunObserver`."""
        for one in self._observers:
            _guarded(one.run_stage, run, stage)

    def run_ended(self, run: RunInWork, ended: RunEnded) -> None:
        """As in `RunObserver`."""
        for one in self._observers:
            _guarded(one.run_ended, run, ended)


def _guarded(tell: Callable[..., None], *facts: object) -> None:
    try:
        tell(*facts)
    except Exception:  # noqa: BLE001 -- see above
        _log.exception("an observer failed")
