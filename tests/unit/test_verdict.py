from dataclasses import replace

import pytest

from protocol.faults import OrganiserFault, ParticipantFault
from protocol.run import Role
from sandbox.outcome import ExitReason, Outcome
from sandbox.usage import Usage
from worker.stages.verdict import Limits, remarks, verdict

MIB = 1 << 20
CROWDED = "It came up to the limit of 64 processes and threads: no more could be started."
LIMITS = Limits(time=60, memory=512 * MIB, pids=64, output=Usage(10 << 30, 100_000), scratch=3 << 30)


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
    [remark] = remarks(outcome, LIMITS)
    assert f"(the limit is {most})" in remark
    assert remarks(Outcome(ExitReason.EXITED, 0, 1.0), LIMITS) == ()


@pytest.mark.parametrize(
    ("reason", "role", "says"),
    [
        (ExitReason.EXITED, Role.PARTICIPANT, "Your submission ended with exit code 1; its stderr says more."),
        (ExitReason.TIME_LIMIT, Role.PARTICIPANT, "Your submission was stopped: time limit of 60 s exceeded."),
        (
            ExitReason.EXITED,
            Role.SCORING,
            "The organiser's scoring program ended with exit code 1; its stderr says more.",
        ),
    ],
)
def test_too_many_processes_explain_any_failure(reason: ExitReason, role: Role, says: str) -> None:
    fault = verdict(Outcome(reason, 1, 1.0, crowded=True), role, LIMITS)
    assert fault
    assert fault.sentence == f"{says} {CROWDED}"


def test_too_many_processes_of_a_program_that_did_not_mind_are_noted() -> None:
    outcome = Outcome(ExitReason.EXITED, 0, 1.0, crowded=True)
    assert verdict(outcome, Role.PARTICIPANT, LIMITS) is None
    assert remarks(outcome, LIMITS) == (CROWDED.replace("It", "your program").rstrip("."),)
    assert len(remarks(replace(outcome, filled=ExitReason.OUTPUT_LIMIT), LIMITS)) == 2


@pytest.mark.parametrize(("reason", "exit_code"), [(ExitReason.EXITED, 1), (ExitReason.STOPPED, 0)])
def test_of_one_that_failed_or_was_stopped_nothing_is_noted_besides(reason: ExitReason, exit_code: int) -> None:
    assert remarks(Outcome(reason, exit_code, 1.0, crowded=True), LIMITS) == ()


def test_the_engines_note_is_one_short_line() -> None:
    sentence = judged(ExitReason.COULD_NOT_START, 127, note="exec:\n  no such\tfile " + "x" * 1000)
    assert "\n" not in sentence
    assert "exec: no such file" in sentence
    assert len(sentence) < 400
