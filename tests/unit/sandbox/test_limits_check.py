"""What the end of the program that takes too much says of the limits."""

import struct

import pytest

from sandbox.canary_program import canary_program
from sandbox.engine import ContainerState
from sandbox.errors import EngineRefused
from sandbox.limits_check import LimitsSeen, limits_seen, try_limits
from sandbox.testing import FakeEngine


def ended(exit_code: int, elapsed: float) -> ContainerState:
    return ContainerState(
        running=False, exit_code=exit_code, oom_killed=exit_code == 137, started_at=10.0, finished_at=10.0 + elapsed
    )


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        (ended(137, 0.45), LimitsSeen(processes=True, cpu=True, memory=True)),
        (ended(137, 0.12), LimitsSeen(processes=True, cpu=False, memory=True)),
        (ended(4, 0.45), LimitsSeen(processes=True, cpu=True, memory=False)),
        (ended(3, 0.01), LimitsSeen(processes=False, cpu=False, memory=None)),
    ],
)
def test_each_end_tells_which_limits_held(state: ContainerState, seen: LimitsSeen) -> None:
    assert limits_seen(state) == seen


@pytest.mark.parametrize("exit_code", [0, 1, 139])
def test_any_other_end_tells_nothing(exit_code: int) -> None:
    with pytest.raises(EngineRefused, match=f"exit code {exit_code}"):
        limits_seen(ended(exit_code, 0.1))


def test_nothing_of_the_try_is_left() -> None:
    engine = FakeEngine()
    with pytest.raises(EngineRefused):  # a fake's program ends with 0
        try_limits(engine)
    assert engine.containers == {}
    assert engine.programs == {}
    (tried,) = engine.removed
    assert (tried.spec.profile.pids, tried.spec.profile.memory, tried.spec.mounts) == (32, 32 << 20, ())


def test_the_program_is_one_segment_of_its_own_length() -> None:
    program = canary_program()
    assert program.startswith(b"\x7fELF")
    assert len(program) == 235
    assert struct.unpack_from("<Q", program, 64 + 32) == (235,)
