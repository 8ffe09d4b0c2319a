"""What a container may leave in the folders that it writes to, and what it means that it left more."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from sandbox.engine import Bound
from sandbox.outcome import ExitReason, Outcome
from sandbox.usage import Usage, measure

# A wall with less than that left is full: what no longer fitted was larger than this, or tried to be.
_MARGIN = 16 << 20
_SHARE = 64


def usage(bound: Bound, stopped: Callable[[], bool] = lambda: False) -> Usage:
    """What its folders hold now, holes included; counted no further than `most` where that is what counts."""
    return measure(bound.folders, most=None if bound.growth else bound.most, stopped=stopped)


def broken(bound: Bound, held: Usage) -> ExitReason | None:
    """Which limit that exceeds; the bytes come first, for they are what fills a disk."""
    if held.size > bound.most.size:
        return ExitReason.OUTPUT_LIMIT
    return ExitReason.OUTPUT_FILES_LIMIT if held.names > bound.most.names else None


def judged(outcome: Outcome, bounds: tuple[Bound, ...]) -> Outcome:
    """The outcome of a program that ended by itself, seen together with what it left.

    More than a limit is that limit's fault. So is a failure in front of a full wall; success there is only noted.
    """
    for bound in bounds:
        if outcome.reason is not ExitReason.EXITED or bound.growth:
            continue
        if reason := broken(bound, usage(bound)):
            outcome = replace(outcome, reason=reason)
        elif (filled := _filled(bound)) and outcome.exit_code:
            outcome = replace(outcome, reason=filled)
        elif filled:
            outcome = replace(outcome, filled=filled)
    return outcome


def _filled(bound: Bound) -> ExitReason | None:
    """Which limit of its wall has been come up to; None where there is no wall."""
    if not bound.folders[0].is_mount():
        return None
    room = os.statvfs(bound.folders[0])
    if room.f_bavail * room.f_frsize <= min(_MARGIN, bound.most.size // _SHARE):
        return ExitReason.OUTPUT_LIMIT
    return ExitReason.OUTPUT_FILES_LIMIT if room.f_ffree == 0 else None
