"""What a container's end means: whose container it was decides who is told what."""

from __future__ import annotations

from protocol.faults import Fault, OrganiserFault, ParticipantFault
from protocol.run import Role
from sandbox.outcome import ExitReason, Outcome

_SUBJECTS = {
    Role.PARTICIPANT: "Your submission",
    Role.INGESTION: "The organiser's ingestion program",
    Role.SCORING: "The organiser's scoring program",
}
_NOTE_LENGTH = 300


def verdict(outcome: Outcome, role: Role, *, time_limit: float, memory: int) -> Fault | None:
    """The fault in how that container ended, or None where it ended well or the worker itself ended it.

    `time_limit` (seconds) and `memory` (bytes) are the limits that it ran under.
    """
    if outcome.ok or outcome.reason is ExitReason.STOPPED:
        return None
    kind = ParticipantFault if role is Role.PARTICIPANT else OrganiserFault
    return kind(f"{_SUBJECTS[role]} {_what_happened(outcome, time_limit, memory)}", detail=outcome.note)


def _what_happened(outcome: Outcome, time_limit: float, memory: int) -> str:
    match outcome.reason:
        case ExitReason.TIME_LIMIT:
            return f"was stopped: time limit of {time_limit:g} s exceeded."
        case ExitReason.OUT_OF_MEMORY:
            return f"was killed: it needed more memory than the limit of {memory / (1 << 20):.0f} MiB."
        case ExitReason.COULD_NOT_START:
            return f"could not be started: {_one_line(outcome.note)}; the image or its command must be mended."
        case _:
            return f"ended with exit code {outcome.exit_code}; its stderr says more."


def _one_line(note: str) -> str:
    return " ".join(note.split())[:_NOTE_LENGTH].rstrip(".") or "its engine gave no reason"
