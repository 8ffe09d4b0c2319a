"""One attempt at a run: what is worked or refused, and how its message is to be settled."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

import structlog

from protocol.addressee import Addressee
from protocol.faults import CancelledFault, Fault, LastingFault, PassingFault
from protocol.run import RunRequest
from worker.broker.delivery import Settlement
from worker.observers import RunEnd, RunEnded
from worker.run_control import InterruptedRunError
from worker.runs.in_hand import Held
from worker.runs.pipeline import work
from worker.runs.recovery import abandon
from worker.runs.reporting import reporter
from worker.stages.containers import OnStage
from worker.tools import Tools

MAX_ATTEMPTS = 3
"""Attempts at a run, in all: those that failed for a passing reason, and those whose host died."""

_GIVEN_UP = (
    f"The platform's workers failed or stopped in mid-run {MAX_ATTEMPTS} times while they worked on this submission, "
    "so it is not tried again."
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended, for the broker and for observers."""

    settlement: Settlement
    ended: RunEnded

    def lost(self) -> Attempt:
        """The same, where the run has become another worker's."""
        return replace(self, ended=RunEnded(RunEnd.LOST, self.ended.runtime))


def make_attempt(
    request: RunRequest, held: Held, tools: Tools, on_stage: OnStage, afterwards: ExitStack, *, cancelled: bool
) -> Attempt:
    """Works the run, or tells the site why not: it was `cancelled`, or too many attempts were made. Never raises.

    `afterwards` is to be closed when the run's message is settled.
    """
    began = time.monotonic()
    fault: Fault | None = None
    try:
        held.control.check_not_lost()  # it may have been while it waited for its turn
        journal = tools.journals.of(request)
        fault = None if journal.record.to_be_told else _refusal(held.run.attempt, cancelled=cancelled)
        if fault:
            if journal.record.folder:
                abandon(journal.record, tools)
            journal.restart()
            reporter(Addressee(request.task_id, request.secret), tools, held.control, journal).failed(fault)
        else:
            last = held.run.attempt >= MAX_ATTEMPTS
            fault = work(request, tools, held.control, afterwards, last_attempt=last, on_stage=on_stage).fault
        settlement, end = Settlement.ACK, _end(fault)
    except InterruptedRunError:
        settlement, end = Settlement.GIVE_BACK, RunEnd.GIVEN_BACK
    except PassingFault as passing:
        _log.warning("attempt failed", sentence=passing.sentence, detail=passing.detail)
        settlement, end, fault = Settlement.RETRY, RunEnd.RETRIED, passing
    except Exception:  # noqa: BLE001 -- a slot outlives every bug, and no run is lost by one
        _log.exception("a bug outside of the run's own stages")
        told = tools.journals.of(request).record.confirmed
        settlement, end = (Settlement.ACK, RunEnd.FAILED) if told else (Settlement.RETRY, RunEnd.RETRIED)
    kind, sentence = (type(fault).__name__, fault.sentence) if fault else ("", "")
    return Attempt(settlement, RunEnded(end, time.monotonic() - began, kind, sentence))


def _refusal(attempt: int, *, cancelled: bool) -> Fault | None:
    if cancelled:
        return CancelledFault()
    return LastingFault(_GIVEN_UP) if attempt > MAX_ATTEMPTS else None


def _end(fault: Fault | None) -> RunEnd:
    if isinstance(fault, CancelledFault):
        return RunEnd.CANCELLED
    return RunEnd.FAILED if fault else RunEnd.FINISHED
