from dataclasses import replace

import pytest

from sandbox.engine import ContainerState
from sandbox.outcome import ExitReason, Outcome, outcome_of

ENDED = ContainerState(running=False, exit_code=0, oom_killed=False, started_at=100.0, finished_at=103.5)
KILLED = replace(ENDED, exit_code=137)
TINI = b"[FATAL tini (7)] exec ./run failed: No such file or directory\nmore"


def judged(state: ContainerState, cause: ExitReason | None = None, head: bytes = b"", limit: float = 3) -> Outcome:
    return outcome_of(state, cause, time_limit=limit, stderr_head=head)


def test_an_end_by_itself() -> None:
    assert judged(ENDED, limit=10) == Outcome(ExitReason.EXITED, 0, 3.5)
    assert judged(ENDED).ok
    assert not judged(replace(ENDED, exit_code=1)).ok


@pytest.mark.parametrize(
    ("oom_killed", "exit_code", "reason"),
    [
        (True, 137, ExitReason.OUT_OF_MEMORY),
        (True, 0, ExitReason.EXITED),
        (True, 1, ExitReason.EXITED),
        (False, 137, ExitReason.EXITED),
    ],
)
def test_out_of_memory_needs_the_flag_and_the_code(oom_killed: bool, exit_code: int, reason: ExitReason) -> None:
    outcome = judged(replace(ENDED, oom_killed=oom_killed, exit_code=exit_code))
    assert (outcome.reason, outcome.oom_killed) == (reason, oom_killed)


@pytest.mark.parametrize("cause", [ExitReason.TIME_LIMIT, ExitReason.STOPPED])
def test_the_watchdogs_cause_comes_before_all_others(cause: ExitReason) -> None:
    assert judged(KILLED, cause).reason is cause
    assert judged(replace(KILLED, oom_killed=True), cause).reason is cause
    assert judged(replace(ENDED, exit_code=127), cause, TINI).reason is cause


def test_a_program_that_ended_before_the_limit_is_not_blamed_for_slow_news() -> None:
    assert judged(ENDED, ExitReason.TIME_LIMIT, limit=3.6).ok
    assert judged(ENDED, ExitReason.TIME_LIMIT, limit=3.5).reason is ExitReason.TIME_LIMIT


@pytest.mark.parametrize("exit_code", [137, 143])
def test_a_host_clock_that_was_set_back_excuses_nobody(exit_code: int) -> None:
    state = replace(ENDED, exit_code=exit_code, finished_at=99.0)
    outcome = judged(state, ExitReason.TIME_LIMIT)
    assert (outcome.reason, outcome.elapsed) == (ExitReason.TIME_LIMIT, 0.0)


def test_a_command_that_init_could_not_execute() -> None:
    outcome = judged(replace(ENDED, exit_code=127), head=TINI)
    assert outcome.reason is ExitReason.COULD_NOT_START
    assert outcome.note == "exec ./run failed: No such file or directory"


@pytest.mark.parametrize(("exit_code", "head"), [(1, TINI), (127, b"x" + TINI), (127, b"sh: x: not found")])
def test_other_ends_are_not_mistaken_for_it(exit_code: int, head: bytes) -> None:
    assert judged(replace(ENDED, exit_code=exit_code), head=head).reason is ExitReason.EXITED
