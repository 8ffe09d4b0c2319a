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
    """The limits that a container ran under: `time` in seconds, `memory` and `scratch` in bytes."""

    time: float
    memory: int
    output: Usage
    scratch: int


def verdict(outcome: Outcome, role: Role, limits: Limits) -> Fault | None:
    """The fault in how that container ended, or None where it ended well or the worker itself ended it."""
    if outcome.ok or outcome.reason is ExitReason.STOPPED:
        return None
    kind = ParticipantFault if role is Role.PARTICIPANT else OrganiserFault
    return kind(f"{_SUBJECTS[role]} {_what_happened(outcome, role, limits)}", detail=outcome.note)


def room_lacked(outcome: Outcome, limits: Limits) -> str:
    """A line for the log of a program that ended well, though its output folder was full; empty where it was not."""
    match outcome.filled:
        case None:
            return ""
        case ExitReason.OUTPUT_FILES_LIMIT:
            most = f"{limits.output.names} files and folders"
        case _:
            most = size(limits.output.size)
    return f"your output folder was full at the end (the limit is {most}): something may be missing in it"


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
