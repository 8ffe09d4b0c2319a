import pytest

from protocol.faults import OrganiserFault, ParticipantFault
from protocol.run import Role
from sandbox.outcome import ExitReason, Outcome
from sandbox.usage import Usage
from worker.stages.verdict import Limits, room_lacked, verdict

MIB = 1 << 20
LIMITS = Limits(time=60, memory=512 * MIB, output=Usage(10 << 30, 100_000), scratch=3 << 30)


def judged(reason: ExitReason, exit_code: int = 1, role: Role = Role.PARTICIPANT, note: str = "") -> str:
    fault = verdict(Outcome(reason, exit_code, 1.0, note=note), role, LIMITS)
    assert fault
    return fault.sentence


def test_a_good_end_is_no_fault() -> None:
    assert verdict(Outcome(ExitReason.EXITED, 0, 1.0), Role.PARTICIPANT, LIMITS) is None


def test_a_survived_out_of_memory_kill_of_a_child_is_no_fault() -> None:
    outcome = Outcome(ExitReason.EXITED, 0, 1.0, oom_killed=True)
    assert verdict(outcome, Role.SCORING, LIMITS) is None


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
    fault = verdict(Outcome(ExitReason.EXITED, 3, 1.0), role, LIMITS)
    assert isinstance(fault, kind)
    assert str(fault).startswith(subject)


@pytest.mark.parametrize(
    ("reason", "role", "says"),
    [
        (
            ExitReason.OUTPUT_LIMIT,
            Role.PARTICIPANT,
            "Your submission wrote more to its output folder than the limit of 10 GiB (holes count, too).",
        ),
        (
            ExitReason.OUTPUT_LIMIT,
            Role.SCORING,
            (
                "The organiser's scoring program wrote more to the run's folder than the limit of 10 GiB "
                "(holes count, too)."
            ),
        ),
        (
            ExitReason.OUTPUT_FILES_LIMIT,
            Role.PARTICIPANT,
            "Your submission made more files and folders in its output folder than the limit of 100000.",
        ),
        (
            ExitReason.SCRATCH_LIMIT,
            Role.PARTICIPANT,
            "Your submission wrote more outside of its output folder than the limit of 3 GiB.",
        ),
        (
            ExitReason.SCRATCH_LIMIT,
            Role.INGESTION,
            "The organiser's ingestion program wrote more outside of the run's folder than the limit of 3 GiB.",
        ),
    ],
)
def test_a_limit_that_was_hit_names_itself_and_its_value(reason: ExitReason, role: Role, says: str) -> None:
    assert judged(reason, 137, role) == says


@pytest.mark.parametrize(
    ("filled", "most"),
    [(ExitReason.OUTPUT_LIMIT, "10 GiB"), (ExitReason.OUTPUT_FILES_LIMIT, "100000 files and folders")],
)
def test_a_full_folder_of_a_program_that_did_not_mind_is_noted(filled: ExitReason, most: str) -> None:
    outcome = Outcome(ExitReason.EXITED, 0, 1.0, filled=filled)
    assert verdict(outcome, Role.PARTICIPANT, LIMITS) is None
    assert f"(the limit is {most})" in room_lacked(outcome, LIMITS)
    assert room_lacked(Outcome(ExitReason.EXITED, 0, 1.0), LIMITS) == ""


def test_the_engines_note_is_one_short_line() -> None:
    sentence = judged(ExitReason.COULD_NOT_START, 127, note="exec:\n  no such\tfile " + "x" * 1000)
    assert "\n" not in sentence
    assert "exec: no such file" in sentence
    assert len(sentence) < 400
