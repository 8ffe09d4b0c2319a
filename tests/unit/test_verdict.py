import pytest

from protocol.faults import OrganiserFault, ParticipantFault
from protocol.run import Role
from sandbox.outcome import ExitReason, Outcome
from worker.stages.verdict import verdict

MIB = 1 << 20


def judged(reason: ExitReason, exit_code: int = 1, role: Role = Role.PARTICIPANT, note: str = "") -> str:
    fault = verdict(Outcome(reason, exit_code, 1.0, note=note), role, time_limit=60, memory=512 * MIB)
    assert fault
    return fault.sentence


def test_a_good_end_is_no_fault() -> None:
    assert verdict(Outcome(ExitReason.EXITED, 0, 1.0), Role.PARTICIPANT, time_limit=60, memory=MIB) is None


def test_a_survived_out_of_memory_kill_of_a_child_is_no_fault() -> None:
    outcome = Outcome(ExitReason.EXITED, 0, 1.0, oom_killed=True)
    assert verdict(outcome, Role.SCORING, time_limit=60, memory=MIB) is None


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (ExitReason.EXITED, "Your submission ended with exit code 1"),
        (ExitReason.TIME_LIMIT, "Your submission was stopped: time limit of 60 s exceeded."),
        (ExitReason.OUT_OF_MEMORY, "limit of 512 MiB"),
        (ExitReason.COULD_NOT_START, "Your submission could not be started"),
    ],
)
def test_the_participant_is_told_what_happened(reason: ExitReason, says: str) -> None:
    assert says in judged(reason)


@pytest.mark.parametrize(
    ("role", "kind", "subject"),
    [
        (Role.PARTICIPANT, ParticipantFault, "Your submission "),
        (Role.SCORING, OrganiserFault, "The organiser's scoring program "),
        (Role.INGESTION, OrganiserFault, "The organiser's ingestion program "),
    ],
)
def test_whose_container_it_was_decides_who_is_blamed(role: Role, kind: type[Exception], subject: str) -> None:
    fault = verdict(Outcome(ExitReason.EXITED, 3, 1.0), role, time_limit=60, memory=MIB)
    assert isinstance(fault, kind)
    assert str(fault).startswith(subject)


def test_the_engines_note_is_one_short_line() -> None:
    sentence = judged(ExitReason.COULD_NOT_START, 127, note="exec:\n  no such\tfile " + "x" * 1000)
    assert "\n" not in sentence
    assert "exec: no such file" in sentence
    assert len(sentence) < 400
