import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from sandbox.engine import Stream
from sandbox.errors import GpuUnavailable, ImageNotFound, StartRefused
from sandbox.gpu import GpuRequest
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason, Outcome
from sandbox.runner import Sandbox
from sandbox.testing import Program

ENDLESS = Program(duration=None)
STUBBORN = Program(output=((Stream.STDERR, b"no"),), duration=None, ignores_term=True)


def run(subject: Any, spec: Any, logs: LogPair, *, time_limit: float = 60, grace: float = 1) -> Outcome:
    with Sandbox(subject.engine).container(spec) as container:
        return container.run(time_limit=time_limit, grace=grace, logs=logs)


def afresh(logs: LogPair) -> LogPair:
    return LogPair.at(logs.stdout.path.with_suffix(".2"), logs.stderr.path.with_suffix(".2"), limit=10)


def nothing_is_left(subject: Any) -> bool:
    return not subject.engine.find_containers(subject.labels)


def test_a_program_that_ends_by_itself(subject: Any, logs: LogPair) -> None:
    program = Program(output=((Stream.STDOUT, b"42\n"), (Stream.STDERR, b"hm\n")), exit_code=7, duration=0.3)
    outcome = run(subject, subject.spec(program), logs)
    assert (outcome.reason, outcome.exit_code, outcome.oom_killed) == (ExitReason.EXITED, 7, False)
    assert not outcome.ok
    assert 0.2 <= outcome.elapsed < 30  # an engine notes a start when the program may have begun already
    assert logs.stdout.path.read_bytes() == b"42\n"
    assert logs.stderr.path.read_bytes() == b"hm\n"
    assert nothing_is_left(subject)


def test_success_is_ok(subject: Any, logs: LogPair) -> None:
    assert run(subject, subject.spec(Program()), logs).ok


@pytest.mark.parametrize(("program", "limit", "grace", "exit_code"), [(ENDLESS, 1, 50, 143), (STUBBORN, 2, 0.5, 137)])
def test_the_time_limit_ends_it(
    subject: Any, logs: LogPair, program: Program, limit: float, grace: float, exit_code: int
) -> None:
    began = time.monotonic()
    outcome = run(subject, subject.spec(program), logs, time_limit=limit, grace=grace)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.TIME_LIMIT, exit_code)
    assert limit <= outcome.elapsed < 15  # on a stalled machine; tests/integration/test_watchdog.py is strict
    assert time.monotonic() - began < 30
    assert nothing_is_left(subject)


def test_stop_from_another_thread_ends_it(subject: Any, logs: LogPair) -> None:
    with Sandbox(subject.engine).container(subject.spec(ENDLESS)) as container:
        threading.Timer(0.5, container.stop).start()
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert outcome.reason is ExitReason.STOPPED
    assert 0 <= outcome.elapsed < 30


def test_stop_before_the_run_means_that_it_never_starts(subject: Any, logs: LogPair) -> None:
    with Sandbox(subject.engine).container(subject.spec(ENDLESS)) as container:
        container.stop()
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert outcome == Outcome(ExitReason.STOPPED, exit_code=0, elapsed=0.0)
    assert nothing_is_left(subject)


def test_running_out_of_memory(subject: Any, logs: LogPair) -> None:
    outcome = run(subject, subject.spec(Program(oom_killed=True, exit_code=137)), logs)
    assert (outcome.reason, outcome.exit_code, outcome.oom_killed) == (ExitReason.OUT_OF_MEMORY, 137, True)


@pytest.mark.parametrize("exit_code", [0, 1])
def test_processes_refused_are_told_even_of_one_that_ends_at_once(subject: Any, logs: LogPair, exit_code: int) -> None:
    outcome = run(subject, subject.spec(Program(crowded=True, exit_code=exit_code)), logs)
    assert (outcome.reason, outcome.exit_code, outcome.crowded) == (ExitReason.EXITED, exit_code, True)
    assert not run(subject, subject.spec(Program(exit_code=exit_code)), afresh(logs)).crowded


def test_an_image_that_cannot_be_started_is_an_outcome(subject: Any, logs: LogPair) -> None:
    program = Program(refusal=StartRefused("Cannot mkdir: not a directory"))
    outcome = run(subject, subject.spec(program), logs)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.COULD_NOT_START, 127)
    assert "not a directory" in outcome.note
    assert nothing_is_left(subject)


def test_an_image_without_the_user_runs_as_the_other_and_the_detour_is_made_once(subject: Any, logs: LogPair) -> None:
    sandbox = Sandbox(subject.engine)
    spec = subject.spec(Program(), user="nobody-knows", fallback_user="1000:1000")
    with sandbox.container(spec) as container:
        first = container.id
        assert container.run(time_limit=60, grace=1, logs=logs).ok
        assert container.id != first
    assert sandbox.images.lacks_user(spec)
    with sandbox.container(spec) as container:
        second = container.id
        assert container.run(time_limit=60, grace=1, logs=afresh(logs)).ok
        assert container.id == second
    assert nothing_is_left(subject)


def test_without_another_user_the_lack_is_an_outcome(subject: Any, logs: LogPair) -> None:
    outcome = run(subject, subject.spec(Program(), user="nobody-knows"), logs)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.COULD_NOT_START, 126)
    assert "nobody-knows" in outcome.note


def test_what_is_the_sandboxs_own_fault_is_raised_and_leaves_nothing(subject: Any, logs: LogPair) -> None:
    with pytest.raises(ImageNotFound):
        run(subject, subject.spec(Program(), image="no-such-image:1"), logs)
    profile = replace(subject.spec(Program()).profile, gpus=GpuRequest())
    with pytest.raises(GpuUnavailable):
        run(subject, subject.spec(Program(), profile=profile), logs)
    assert nothing_is_left(subject)


def test_a_container_that_is_made_and_never_run_is_removed(subject: Any) -> None:
    with Sandbox(subject.engine).container(subject.spec(Program())) as container:
        assert subject.engine.find_containers(subject.labels) == (container.id,)
    assert nothing_is_left(subject)


def test_a_second_container_can_be_made_while_the_first_runs(subject: Any, logs: LogPair) -> None:
    sandbox = Sandbox(subject.engine)
    with sandbox.container(subject.spec(Program(duration=0.5))) as first:
        runner = threading.Thread(target=first.run, kwargs={"time_limit": 60, "grace": 1, "logs": logs})
        runner.start()
        with sandbox.container(subject.spec(Program(output=((Stream.STDOUT, b"2"),)))) as second:
            runner.join(60)
            folder = logs.stdout.path.parent
            logs2 = LogPair.at(folder / "out2", folder / "err2", limit=10)
            assert second.run(time_limit=60, grace=1, logs=logs2).ok
    assert logs2.stdout.path.read_bytes() == b"2"


def test_no_thread_outlives_the_run(subject: Any, logs: LogPair) -> None:
    before = set(threading.enumerate())
    run(subject, subject.spec(STUBBORN), logs, time_limit=0.5, grace=0.2)
    assert {thread.name for thread in set(threading.enumerate()) - before} <= set()
