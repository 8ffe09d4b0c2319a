"""What a container's end means: whose container it was decides who is told what."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.faults import Fault, OrganiserFault, ParticipantFault
from protocol.run import Role
from sandbox.logs import size
from sandbox.outcome import ExitReason, Outcome
from sandbox.usage import Usage

_SUBJECTS = {
    Role.PARTICIPANT: "Your submission",
    Role.INGESTION: "The organiser's ingestion program",
    Role.SCORING: "The organiser's scoring program",
}
_NOTE_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a container ran under: `time` in seconds, `memory` and `scratch` in bytes, `pids` in number."""

    time: float
    memory: int
    pids: int
    output: Usage
    scratch: int


def verdict(outcome: Outcome, role: Role, limits: Limits) -> Fault | None:
    """The fault in how that container ended, or None where it ended well or the worker itself ended it."""
    if outcome.ok or outcome.reason is ExitReason.STOPPED:
        return None
    kind = ParticipantFault if role is Role.PARTICIPANT else OrganiserFault
    crowded = f" {_crowded('It', limits)}." if outcome.crowded else ""
    return kind(f"{_SUBJECTS[role]} {_what_happened(outcome, role, limits)}{crowded}", detail=outcome.note)


def remarks(outcome: Outcome, limits: Limits) -> tuple[str, ...]:
    """Lines for the log of a program that ended well, though it came up to a limit and may have minded."""
    if not outcome.ok:  # of one that failed the fault tells
        return ()
    full = (_room_lacked(outcome.filled, limits),) if outcome.filled else ()
    return (*full, _crowded("your program", limits)) if outcome.crowded else full


def _room_lacked(filled: ExitReason, limits: Limits) -> str:
    names = filled is ExitReason.OUTPUT_FILES_LIMIT
    most = f"{limits.output.names} files and folders" if names else size(limits.output.size)
    return f"your output folder was full at the end (the limit is {most}): something may be missing in it"


def _crowded(who: str, limits: Limits) -> str:
    return f"{who} came up to the limit of {limits.pids} processes and threads: no more could be started"


def _what_happened(outcome: Outcome, role: Role, limits: Limits) -> str:
    match outcome.reason:
        case ExitReason.TIME_LIMIT:
            return f"was stopped: time limit of {limits.time:g} s exceeded."
        case ExitReason.OUT_OF_MEMORY:
            return f"was killed: it needed more memory than the limit of {limits.memory / (1 << 20):.0f} MiB."
        case ExitReason.COULD_NOT_START:
            return f"could not be started: {_one_line(outcome.note)}; the image or its command must be mended."
        case ExitReason.OUTPUT_LIMIT | ExitReason.OUTPUT_FILES_LIMIT | ExitReason.SCRATCH_LIMIT as reason:
            return _too_much(reason, "its output folder" if role is Role.PARTICIPANT else "the run's folder", limits)
        case _:
            return f"ended with exit code {outcome.exit_code}; its stderr says more."


def _too_much(reason: ExitReason, folder: str, limits: Limits) -> str:
    if reason is ExitReason.OUTPUT_LIMIT:
        return f"wrote more to {folder} than the limit of {size(limits.output.size)} (holes count, too)."
    if reason is ExitReason.OUTPUT_FILES_LIMIT:
        return f"made more files and folders in {folder} than the limit of {limits.output.names}."
    return f"wrote more outside of {folder} than the limit of {size(limits.scratch)}."


def _one_line(note: str) -> str:
    return " ".join(note.split())[:_NOTE_LENGTH].rstrip(".") or "its engine gave no reason"
