"""A container that an earlier process began is gone on with: its logs whole, its time what is left, its end known."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox import runner
from sandbox.engine import Stream
from sandbox.errors import ContainerLost
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason, Outcome
from sandbox.runner import Sandbox
from sandbox.testing import FakeEngine, Program

SAID = ((Stream.STDOUT, b"first\n\xff\x00\n\n"), (Stream.STDERR, b"remark\n"), (Stream.STDOUT, b"last"))


def begun(subject: Any, program: Program) -> tuple[Any, str]:
    """A container started by a worker that is there no more."""
    spec = subject.spec(program)
    container = subject.engine.create(spec)
    subject.engine.start(container)
    return spec, container


def adopt(subject: Any, found: tuple[Any, str], logs: LogPair, *, time_limit: float = 60) -> Outcome:
    spec, container = found
    with Sandbox(subject.engine).container(spec, found=container) as adopted:
        return adopted.run(time_limit=time_limit, grace=1, logs=logs)


def after_a_restart(logs: LogPair) -> LogPair:
    with logs:
        pass
    return LogPair.at(logs.stdout.path, logs.stderr.path, limit=logs.stdout.limit, new=False)


def test_one_that_runs_is_seen_to_its_end_with_all_that_it_wrote(keeping: Any, logs: LogPair) -> None:
    found = begun(keeping, Program(output=SAID, exit_code=3, duration=1))
    logs.write(Stream.STDOUT, b"fir")  # what the earlier process had read
    outcome = adopt(keeping, found, after_a_restart(logs))
    assert (outcome.reason, outcome.exit_code) == (ExitReason.EXITED, 3)
    assert logs.stdout.path.read_bytes() == b"first\n\xff\x00\n\nlast"
    assert logs.stderr.path.read_bytes() == b"remark\n"
    assert not keeping.engine.find_containers(keeping.labels)


def test_one_that_has_ended_is_known_by_its_end(keeping: Any, logs: LogPair) -> None:
    found = begun(keeping, Program(output=SAID, exit_code=3))
    keeping.engine.wait(found[1], timeout=60)
    outcome = adopt(keeping, found, logs)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.EXITED, 3)
    assert logs.stdout.path.read_bytes() == b"first\n\xff\x00\n\nlast"


def test_it_has_the_time_that_is_left(keeping: Any, logs: LogPair, monkeypatch: pytest.MonkeyPatch) -> None:
    found = begun(keeping, Program(duration=None))
    later = SimpleNamespace(time=lambda: time.time() + 100, monotonic=time.monotonic)
    monkeypatch.setattr(runner, "time", later)  # nobody has watched for so long
    outcome = adopt(keeping, found, logs, time_limit=101)
    assert outcome.reason is ExitReason.TIME_LIMIT
    assert 1 <= outcome.elapsed < 30


def test_one_whose_time_ran_out_meanwhile_is_ended_at_once(keeping: Any, logs: LogPair) -> None:
    found = begun(keeping, Program(duration=None))
    time.sleep(0.5)
    assert adopt(keeping, found, logs, time_limit=0.2).reason is ExitReason.TIME_LIMIT


def test_one_that_ran_for_too_long_while_nobody_watched_is_no_exception(keeping: Any, logs: LogPair) -> None:
    found = begun(keeping, Program(duration=1.5))
    keeping.engine.wait(found[1], timeout=60)
    assert adopt(keeping, found, logs, time_limit=0.1).reason is ExitReason.TIME_LIMIT


def test_processes_refused_while_nobody_watched_are_known(keeping: Any, logs: LogPair) -> None:
    found = begun(keeping, Program(crowded=True, exit_code=1))
    keeping.engine.wait(found[1], timeout=60)
    assert adopt(keeping, found, logs).crowded


def test_it_can_be_stopped(keeping: Any, logs: LogPair) -> None:
    spec, container = begun(keeping, Program(duration=None))
    with Sandbox(keeping.engine).container(spec, found=container) as adopted:
        threading.Timer(0.3, adopted.stop).start()
        assert adopted.run(time_limit=60, grace=1, logs=logs).reason is ExitReason.STOPPED


def test_one_that_is_gone_is_lost(keeping: Any, logs: LogPair) -> None:
    found = begun(keeping, Program())
    keeping.engine.remove(found[1])
    with pytest.raises(ContainerLost):
        adopt(keeping, found, logs)


def test_one_that_ended_with_its_engine_is_lost_whatever_its_exit_code(logs: LogPair, fake: Any) -> None:
    """The real engine is restarted in tests/acceptance/test_engine_restart.py."""
    found = begun(fake, Program(duration=None))
    engine: FakeEngine = fake.engine
    engine.restart()
    with pytest.raises(ContainerLost, match="143"):
        adopt(fake, found, logs)


def test_an_engine_knows_of_this_moment(subject: Any) -> None:
    container = subject.engine.create(subject.spec(Program()))
    subject.engine.start(container)
    subject.engine.wait(container, timeout=60)
    assert subject.engine.was_up_at(subject.engine.inspect(container).finished_at) in {
        True,
        None,
    }  # a busy engine forgets


def test_a_long_line_keeps_its_end(keeping: Any, logs: LogPair, tmp_path: Path) -> None:
    del tmp_path
    line = b"z" * 20000
    found = begun(keeping, Program(output=((Stream.STDOUT, line), (Stream.STDOUT, b"\nnext\n"))))
    keeping.engine.wait(found[1], timeout=60)
    adopt(keeping, found, logs)
    assert logs.stdout.path.read_bytes() == line + b"\nnext\n"
